# Do the features that a student learns on CIFAR-100 serve other data? MCLD's linear
# probe: resnet32x4 teaches resnet8x4, then a classifier is trained on frozen features.
prepare = {
    'data/cifar100': ['dataset_converters/download_cifar100.py', 'data/cifar100'],
}
_teacher = '../baseline/cifar100/res32x4.py'
_students = {
    'plain student': '../baseline/cifar100/res8x4.py',
    'KD': dict(config='../kd/cifar100/res32x4_res8x4.py', teacher=_teacher),
    'DHKD': dict(config='../dhkd/cifar100/res32x4_res8x4.py', teacher=_teacher),
    'MCLD': dict(config='../mcld/cifar100/res32x4_res8x4.py', teacher=_teacher),
    "KD + Kendall's tau": dict(
        config='../kd_kendall-tau/cifar100/res32x4_res8x4.py', teacher=_teacher
    ),
}
# From the paper of MCLD, which does not say whether they are best or last.
_source = 'https://arxiv.org/abs/2411.10693'
_published = {
    'STL-10: plain student': 65.18,
    'STL-10: MCLD': 70.61,
    'Tiny-ImageNet: plain student': 34.75,
    'Tiny-ImageNet: MCLD': 36.19,
}
rows = {}
for _data, _folder in (('STL-10', 'stl10'), ('Tiny-ImageNet', 'tiny-imagenet')):
    for _name, _student in _students.items():
        _top1 = _published.get(f'{_data}: {_name}')
        rows[f'{_data}: {_name}'] = dict(
            config=f'../transfer/{_folder}/res8x4.py',
            student=_student,
            baseline=f'{_data}: plain student',
            published=_top1 and dict(value=_top1, source=_source),
        )
