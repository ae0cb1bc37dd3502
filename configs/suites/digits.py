# Every method on single digits, which are too easy to tell methods apart.
teacher = '../baseline/res20_digits.py'
rows = {
    'plain student': '../baseline/res8_digits.py',
    'KD': '../kd/res20_res8_digits.py',
    'DHKD': '../dhkd/res20_res8_digits.py',
    'BinaryKL-Norm, one head': '../dhkd/res20_res8_digits_single-head.py',
    'DHKD, gradients aligned': '../dhkd/res20_res8_digits_ga.py',
    'MCLD, without cross entropy': '../mcld/res20_res8_digits.py',
    "KD + Kendall's tau": '../kd_kendall-tau/res20_res8_digits.py',
    "DHKD + Kendall's tau": '../dhkd_kendall-tau/res20_res8_digits.py',
    "MCLD + Kendall's tau": '../mcld_kendall-tau/res20_res8_digits.py',
}
