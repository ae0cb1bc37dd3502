# The cost of fewer views of each image: with 40, one per epoch, none repeats.
_kd = '../kd/res20_res8w8_digitpairs.py'
teacher = '../baseline/res20_digitpairs.py'
rows = {
    'fresh augmentation': _kd,
    **{
        name: dict(config=_kd, options={'model.teacher.views': int(name.split()[0])})
        for name in ('40 views', '8 views', '4 views', '2 views', '1 view')
    },
}
