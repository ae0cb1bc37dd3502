# DHKD's three pairs on Cityscapes, with mmseg's teachers, which are downloaded.
_pairs = {
    'pspnet-r101_pspnet-r18': ('PSPNet-R101, PSPNet-R18', 'PSPNet-R18'),
    'deeplabv3-r101_deeplabv3-r18': ('DeepLabV3-R101, DeepLabV3-R18', 'DeepLabV3-R18'),
    'deeplabv3-r101_pspnet-r18': ('DeepLabV3-R101, PSPNet-R18', 'PSPNet-R18'),
}
_methods = {
    'kd': 'KD',
    'dhkd': 'DHKD',
    'mcld': 'MCLD',
    'kd_kendall-tau': "KD + Kendall's tau",
    'dist': 'DIST',
    'cwd': 'CWD',
}
# Plain students by mmseg, CWD by MMRazor; of the others no result is at hand.
_source = 'https://github.com/open-mmlab/mmsegmentation'
_published = {
    'pspnet-r101_pspnet-r18: cwd': dict(
        value=75.54, source='https://github.com/open-mmlab/mmrazor'
    ),
}
rows = {
    'PSPNet-R18': dict(
        config='../baseline/pspnet-r18_cityscapes.py',
        published=dict(last=74.87, source=_source),
    ),
    'DeepLabV3-R18': dict(
        config='../baseline/deeplabv3-r18_cityscapes.py',
        published=dict(last=76.70, source=_source),
    ),
}
for _pair, (_name, _student) in _pairs.items():
    for _folder, _method in _methods.items():
        rows[f'{_name}: {_method}'] = dict(
            config=f'../{_folder}/{_pair}_cityscapes.py',
            baseline=_student,
            published=_published.get(f'{_pair}: {_folder}'),
        )
