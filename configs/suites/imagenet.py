# ImageNet with the papers' teachers, torchvision's; some with OpenMMLab's too.
_base_ = '../_base_/suites/methods.py'
_pairs = {
    'tv-res34_res18': ('ResNet-34, ResNet-18', 'ResNet-18'),
    'res34_res18': ("OpenMMLab's ResNet-34, ResNet-18", 'ResNet-18'),
    'res50_mobilenetv1': ('ResNet-50, MobileNetV1', 'MobileNetV1'),
}
_with_both_teachers = ('kd', 'dhkd', 'mcld', 'kd_kendall-tau')
# Their sources do not say whether they are best or last.
_github = 'https://github.com'
_mcld = 'https://arxiv.org/abs/2411.10693'
_published = {
    'kd': (71.03, 70.50, _mcld),
    'mcld': (71.66, 72.98, _mcld),
    'dkd': (71.70, 72.05, f'{_github}/megvii-research/mdistiller'),
    'dist': (72.07, 73.24, f'{_github}/hunto/DIST_KD'),
    'nkd': (71.96, 72.58, f'{_github}/yzd-v/cls_KD'),
    'wttm': (72.19, 73.09, f'{_github}/zkxufo/TTM'),
    'wsld': (72.04, 71.52, f'{_github}/bellymonster/Weighted-Soft-Label-Distillation'),
    'gkl': (71.91, 72.84, f'{_github}/jiequancui/DKL'),
    'kd_dot': (71.72, 73.09, f'{_github}/megvii-research/mdistiller'),
    'kd_standardize': (71.42, None, 'https://arxiv.org/abs/2403.01427'),
}
rows = {
    'ResNet-18': dict(
        config='../baseline/res18_in1k.py', published=dict(value=69.75, source=_mcld)
    ),
    'MobileNetV1': dict(
        config='../baseline/mobilenetv1_in1k.py',
        published=dict(value=68.87, source=_mcld),
    ),
}
for _pair, (_name, _student) in _pairs.items():
    for _folder, _method in _base_._names.items():
        if _pair == 'res34_res18' and _folder not in _with_both_teachers:
            continue
        _res18, _mobilenetv1, _source = _published.get(_folder, (None, None, None))
        _of_pair = {'tv-res34_res18': _res18, 'res50_mobilenetv1': _mobilenetv1}
        _top1 = _of_pair.get(_pair)
        rows[f'{_name}: {_method}'] = dict(
            config=f'../{_folder}/{_pair}_in1k.py',
            baseline=_student,
            published=_top1 and dict(value=_top1, source=_source),
        )
