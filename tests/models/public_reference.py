"""Slow and obvious hypernetworks that the fast one is tested against.

`PublicNetwork` has the structure and the parameter names of the widely used public code
(github.com/g1910/HyperNetworks), written anew: an embedding a parameter, the generator called block by block, pieces
joined layer by layer. `paper_block` is equation 2 of arXiv 1609.09106 written out by input channel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def folded(*shape: int) -> nn.Parameter:
    """Normal numbers folded into (-2, 2)."""
    return nn.Parameter(torch.fmod(torch.randn(*shape), 2))


class BlockGenerator(nn.Module):
    def __init__(self, z_dim: int = 64, block: int = 16, f: int = 3) -> None:
        super().__init__()
        self.z_dim, self.block, self.f = z_dim, block, f
        self.w1, self.b1 = folded(z_dim, block * f * f), folded(block * f * f)
        self.w2, self.b2 = folded(z_dim, block * z_dim), folded(block * z_dim)

    def forward(self, z: Tensor) -> Tensor:
        rows = (torch.matmul(z, self.w2) + self.b2).view(self.block, self.z_dim)
        return (torch.matmul(rows, self.w1) + self.b1).view(self.block, self.block, self.f, self.f)


class LayerEmbeddings(nn.Module):
    def __init__(self, grid: tuple[int, int], z_dim: int = 64) -> None:
        super().__init__()
        self.grid = grid
        self.z_list = nn.ParameterList([folded(z_dim) for _ in range(grid[0] * grid[1])])

    def forward(self, generator: nn.Module) -> Tensor:
        rows, columns = self.grid
        return torch.cat(
            [torch.cat([generator(self.z_list[i * columns + j]) for j in range(columns)], dim=1) for i in range(rows)]
        )


class PublicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        if inputs != outputs:
            self.reslayer: nn.Module = nn.Conv2d(inputs, outputs, 1, stride)
        else:
            self.reslayer = nn.Identity()
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        out = functional.relu(self.bn1(functional.conv2d(x, first, stride=self.stride, padding=1)))
        out = self.bn2(functional.conv2d(out, second, padding=1))
        return functional.relu(out + self.reslayer(x))


class PublicNetwork(nn.Module):
    """The public network at any widening and number of blocks per stage (public: 1 and 6)."""

    def __init__(self, widening: int = 1, blocks: int = 6, classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.hope = BlockGenerator()
        self.res_net, self.zs = nn.ModuleList(), nn.ModuleList()
        inputs = 16
        for stage, width in enumerate((16 * widening, 32 * widening, 64 * widening)):
            for block in range(blocks):
                self.res_net.append(PublicBlock(inputs, width, 2 if stage and not block else 1))
                self.zs.append(LayerEmbeddings((width // 16, inputs // 16)))
                self.zs.append(LayerEmbeddings((width // 16, width // 16)))
                inputs = width
        self.final = nn.Linear(inputs, classes)

    def kernels(self) -> list[Tensor]:
        """All kernels, generated one block after the other."""
        return [layer(self.hope) for layer in self.zs]

    def forward(self, x: Tensor) -> Tensor:
        kernels = self.kernels()
        x = functional.relu(self.bn1(self.conv1(x)))
        for number, block in enumerate(self.res_net):
            x = block(x, kernels[2 * number], kernels[2 * number + 1])
        return self.final(x.mean(dim=(2, 3)))  # type: ignore[no-any-return]


def paper_block(z: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, block: int, f: int) -> Tensor:
    """Equation 2 for one block, input channel by input channel: [outputs, inputs, f, f]."""
    d = len(z)
    slices = []
    for i in range(block):
        a = z @ w2[:, i * d : (i + 1) * d] + b2[i * d : (i + 1) * d]
        slices.append((a @ w1 + b1).view(block, f, f))
    return torch.stack(slices, dim=1)
