# Methods across families, on numbers of two digits: resnet20 teaches a small ConvMixer.
teacher = '../baseline/res20_digitpairs.py'
rows = {
    'plain student': '../baseline/convmixer_digitpairs.py',
    'KD': '../kd/res20_convmixer_digitpairs.py',
    'DHKD, linear head': dict(
        config='../dhkd/res20_convmixer_digitpairs.py',
        options={'model.aux_head.type': 'LinearLogitHead'},
    ),
    'DHKD, nonlinear head': '../dhkd/res20_convmixer_digitpairs.py',
    'MCLD, without cross entropy': '../mcld/res20_convmixer_digitpairs.py',
    'MCLD': dict(
        config='../mcld/res20_convmixer_digitpairs.py',
        options={'model.task_loss_weight': 1.0},
    ),
    "KD + Kendall's tau": '../kd_kendall-tau/res20_convmixer_digitpairs.py',
    "DHKD + Kendall's tau": '../dhkd_kendall-tau/res20_convmixer_digitpairs.py',
}
