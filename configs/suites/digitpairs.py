# Every method on numbers of two digits in noise: resnet20 teaches half a resnet8.
teacher = '../baseline/res20_digitpairs.py'
rows = {
    'plain student': '../baseline/res8w8_digitpairs.py',
    'KD': '../kd/res20_res8w8_digitpairs.py',
    'DHKD': '../dhkd/res20_res8w8_digitpairs.py',
    'DHKD, nonlinear head': dict(
        config='../dhkd/res20_res8w8_digitpairs.py',
        options={'model.aux_head.type': 'MLPLogitHead'},
    ),
    'DHKD, gradients aligned': dict(
        config='../dhkd/res20_res8w8_digitpairs.py',
        options={'optim_wrapper.type': 'mmkd_logit.GradAlignOptimWrapper'},
    ),
    'MCLD, without cross entropy': '../mcld/res20_res8w8_digitpairs.py',
    'MCLD': dict(
        config='../mcld/res20_res8w8_digitpairs.py',
        options={'model.task_loss_weight': 1.0},
    ),
    "KD + Kendall's tau": '../kd_kendall-tau/res20_res8w8_digitpairs.py',
    "DHKD + Kendall's tau": '../dhkd_kendall-tau/res20_res8w8_digitpairs.py',
}
