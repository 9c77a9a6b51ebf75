"""Multi-head latent attention (MLA): all heads' keys and values from one small vector.

Source: DeepSeek-AI, "DeepSeek-V2", arXiv:2405.04434, section 2.1. Each position leaves behind a
latent c = norm(x W_a) of `d_latent_kv` channels, from which every head makes a key and a value of
its own, and one key of `d_head_rope` channels that carries the position and is shared by all heads.
Only these are cached: with DeepSeek-V2's widths (128 heads of 128 channels, 512 + 64 cached), 57
times less than multi-head attention would.

Queries come the same way from a latent of `d_latent_q` channels, or straight from x where that is
0; this saves memory in training only. Both latents are normalized, as in DeepSeek's code. Weights
are named and shaped as in its checkpoints.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minillm.config import ModelConfig
from minillm.model.attend import attend
from minillm.model.cache import KVCache
from minillm.model.init import output_std
from minillm.model.layers import Linear, RMSNorm
from minillm.model.mask import Mask
from minillm.model.rope import Rotation, rotate
from minillm.model.rope_scaling import yarn_magnitude


class LatentAttention(nn.Module):
    """Multi-head latent attention of one block (DeepSeek-V2, equations 37 to 47).

    Head h has the query [q_h, rope(r_h)], the key [c U_h^T, rope(k)] and the value c V_h^T. U_h
    (content channels x latent channels) and V_h (value channels x latent channels) are rows of
    `kv_b_proj`. In the axes, L is `d_latent_kv` and R is `d_head_rope`.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        """Builds the attention of block number `layer`, its place in the cache."""
        super().__init__()
        d_model, bias, std = config.d_model, config.attention_bias, config.init_std
        d_latent, d_latent_q, eps = config.d_latent_kv, config.d_latent_q, config.norm_eps
        d_queries = config.n_heads * config.d_score
        d_made = config.n_heads * (config.d_head_nope + config.d_head_v)
        if d_latent_q:
            self.q_a_proj = Linear(d_model, d_latent_q, bias=bias, std=std)
            self.q_a_norm = RMSNorm(d_latent_q, eps=eps, scale=config.norm_scale)
            self.q_b_proj = Linear(d_latent_q, d_queries, std=std)
        else:
            self.q_proj = Linear(d_model, d_queries, std=std)
        self.kv_a_proj = Linear(d_model, d_latent + config.d_head_rope, bias=bias, std=std)
        self.kv_a_norm = RMSNorm(d_latent, eps=eps, scale=config.norm_scale)
        self.kv_b_proj = Linear(d_latent, d_made, std=std)
        d_values = config.n_heads * config.d_head_v
        self.o_proj = Linear(d_values, d_model, bias=bias, std=output_std(config))
        self.config = config
        self.layer = layer

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Mask,
        rotation: Rotation | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Lets each position look at what the mask shows it; arguments as for `Attention`."""
        config = self.config
        wide = (
            self.q_b_proj(self.q_a_norm(self.q_a_proj(x))) if config.d_latent_q else self.q_proj(x)
        )
        queries = wide.unflatten(-1, (-1, config.d_score))  # B T H K
        content, place = queries.split([config.d_head_nope, config.d_head_rope], dim=-1)
        latents, place_keys = self.kv_a_proj(x).split([config.d_latent_kv, config.d_head_rope], -1)
        latents, place_keys = self.kv_a_norm(latents)[:, :, None], place_keys[:, :, None]  # B T 1 .
        if rotation is not None:
            place, place_keys = rotate(place, rotation), rotate(place_keys, rotation)
        content, place = content.transpose(1, 2), place.transpose(1, 2)  # B H T .
        kept = torch.cat((latents, place_keys), dim=-1).transpose(1, 2)  # B 1 T L+R
        if cache is not None:
            kept, _ = cache.write(self.layer, kept, kept[..., :0])  # B 1 S L+R
        # One query: making every position's keys and values again would cost far more than it.
        is_decoding = cache is not None and x.shape[1] == 1
        path = self.attend_absorbed if is_decoding else self.attend_plain
        mixed = path(content, place, kept, mask)  # B H T Kv
        out: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))  # B T D
        return out

    def attend_plain(
        self,
        content: Float[Tensor, "B H T Kc"],
        place: Float[Tensor, "B H T R"],
        kept: Float[Tensor, "B 1 S L_and_R"],
        mask: Mask,
    ) -> Float[Tensor, "B H T Kv"]:
        """Makes every head's keys and values, then attends as usual. For training and prompts."""
        config = self.config
        latents, place_keys = kept[:, 0].split([config.d_latent_kv, config.d_head_rope], dim=-1)
        made = self.kv_b_proj(latents).unflatten(-1, (config.n_heads, -1)).transpose(1, 2)
        keys, values = made.split([config.d_head_nope, config.d_head_v], dim=-1)  # B H S .
        shared = place_keys[:, None].expand(-1, config.n_heads, -1, -1)  # B H S R
        keys = torch.cat((keys, shared), dim=-1)  # B H S K
        return self._attend(torch.cat((content, place), dim=-1), keys, values, mask)

    def attend_absorbed(
        self,
        content: Float[Tensor, "B H T Kc"],
        place: Float[Tensor, "B H T R"],
        kept: Float[Tensor, "B 1 S L_and_R"],
        mask: Mask,
    ) -> Float[Tensor, "B H T Kv"]:
        """Attends to the latents themselves, as one key-value head. For decoding.

        A score is q (c U^T)^T = (q U) c^T, and a mix of values sum_s w_s c_s V^T = (sum_s w_s c_s)
        V^T: U is absorbed by the query and V by the output (section 2.1.3), and no key or value is
        ever made.
        """
        config = self.config
        weight = self.kv_b_proj.matrix().unflatten(0, (config.n_heads, -1))  # H Kc+Kv L
        key_rows, value_rows = weight.split([config.d_head_nope, config.d_head_v], dim=1)
        queries = torch.cat((content @ key_rows, place), dim=-1)  # B H T L+R
        latents = kept[..., : config.d_latent_kv]  # B 1 S L
        mixed: Tensor = self._attend(queries, kept, latents, mask) @ value_rows.mT  # B H T Kv
        return mixed

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Mask) -> Tensor:
        config = self.config
        # Of the score that both paths stand for. YaRN lengthens all of its channels.
        scale = config.d_score**-0.5 * yarn_magnitude(config) ** 2
        return attend(queries, keys, values, mask, config, scale=scale, training=self.training)
