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
    'DKD': '../dkd/res20_res8w8_digitpairs.py',
    "DKD + Kendall's tau": '../dkd_kendall-tau/res20_res8w8_digitpairs.py',
    'CTKD': '../ctkd/res20_res8w8_digitpairs.py',
    "CTKD + Kendall's tau": '../ctkd_kendall-tau/res20_res8w8_digitpairs.py',
    'MLKD': '../mlkd/res20_res8w8_digitpairs.py',
    "MLKD + Kendall's tau": '../mlkd_kendall-tau/res20_res8w8_digitpairs.py',
    'DIST': '../dist/res20_res8w8_digitpairs.py',
    'NKD': '../nkd/res20_res8w8_digitpairs.py',
    'NormKD': '../normkd/res20_res8w8_digitpairs.py',
    'WTTM': '../wttm/res20_res8w8_digitpairs.py',
    'RLD': '../rld/res20_res8w8_digitpairs.py',
    'WSLD': '../wsld/res20_res8w8_digitpairs.py',
    'GKL': '../gkl/res20_res8w8_digitpairs.py',
    'LumiNet': '../kd_luminet/res20_res8w8_digitpairs.py',
    'KD, swapped': '../kd_swap/res20_res8w8_digitpairs.py',
    'KD, standardized': '../kd_standardize/res20_res8w8_digitpairs.py',
    'DKD, standardized': '../dkd_standardize/res20_res8w8_digitpairs.py',
    'MLKD, standardized': '../mlkd_standardize/res20_res8w8_digitpairs.py',
    'KD + DOT': '../kd_dot/res20_res8w8_digitpairs.py',
    # What DOT amounts to in a steady state: its KD weighs 7 times as much.
    'KD, 7 times the weight': dict(
        config='../kd/res20_res8w8_digitpairs.py',
        options={'model.losses.kd.loss_weight': 7.0},
    ),
}
