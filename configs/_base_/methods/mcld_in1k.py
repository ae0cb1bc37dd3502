# MCLD with the settings of the paper for ResNet-34 to ResNet-18: with cross entropy.
method = dict(losses=dict(mcld=dict(type='MCLDLoss', tau=0.2)))
