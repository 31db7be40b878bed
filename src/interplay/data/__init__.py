"""Real images on the device: where they are found, how they are verified, how they are split and batched.

`identity.resolve` names the data of a spec without loading them (and without torch); `splits.load` loads them;
`batches` draws epochs, crops and flips.
"""
