# ImageNet with the papers' teachers, torchvision's, and with OpenMMLab's ResNet-34.
_pairs = {
    'tv-res34_res18': ('ResNet-34, ResNet-18', 'ResNet-18'),
    'res34_res18': ("OpenMMLab's ResNet-34, ResNet-18", 'ResNet-18'),
    'res50_mobilenetv1': ('ResNet-50, MobileNetV1', 'MobileNetV1'),
}
_methods = {
    'kd': 'KD',
    'dhkd': 'DHKD',
    'mcld': 'MCLD',
    'kd_kendall-tau': "KD + Kendall's tau",
}
# From the paper of MCLD, which does not say whether they are best or last.
_source = 'https://arxiv.org/abs/2411.10693'
_published = {
    'tv-res34_res18: kd': 71.03,
    'tv-res34_res18: mcld': 71.66,
    'res50_mobilenetv1: kd': 70.50,
    'res50_mobilenetv1: mcld': 72.98,
}
rows = {
    'ResNet-18': dict(
        config='../baseline/res18_in1k.py', published=dict(value=69.75, source=_source)
    ),
    'MobileNetV1': dict(
        config='../baseline/mobilenetv1_in1k.py',
        published=dict(value=68.87, source=_source),
    ),
}
for _pair, (_name, _student) in _pairs.items():
    for _folder, _method in _methods.items():
        _top1 = _published.get(f'{_pair}: {_folder}')
        rows[f'{_name}: {_method}'] = dict(
            config=f'../{_folder}/{_pair}_in1k.py',
            baseline=_student,
            published=_top1 and dict(value=_top1, source=_source),
        )
