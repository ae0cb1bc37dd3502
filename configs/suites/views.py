# What fewer views of each image cost: with 40, one an epoch, none repeats.
_kd = '../kd/res20_res8w8_digitpairs.py'
teacher = '../baseline/res20_digitpairs.py'
rows = {
    'fresh augmentation': _kd,
    **{
        f'{views} views': dict(config=_kd, options={'model.teacher.views': views})
        for views in (40, 8, 4, 2, 1)
    },
}
