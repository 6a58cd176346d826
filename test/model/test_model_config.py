# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from pervformer_ros.model import PervFormerConfig, create_config, create_model
from pervformer_ros.model.config import VARIANTS


@pytest.mark.parametrize("name", VARIANTS)
def test_a_configuration_survives_json(name: str) -> None:
    config = create_config(name, probes=3, recurrence=False)
    assert PervFormerConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("text", ["[]", "{}", '{"width": 3}', "not json"])
def test_json_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"fields that differ|Expecting value"):
        PervFormerConfig.from_json(text)


def test_json_with_a_field_too_many_is_refused() -> None:
    values = json.loads(create_config("tiny").to_json()) | {"dropout": 0.1}
    with pytest.raises(ValueError, match="dropout"):
        PervFormerConfig.from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"image_size": (240, 321)}, "multiples of 16"),
        ({"stem": "resnet"}, '"conv" or "patch"'),
        ({"heads": 7}, "width must be a multiple of the 7 heads"),
        ({"probes": -1}, "probes >= 0"),
        ({"classes": ()}, "a class"),
        ({"dt_ref": 0.0}, "dt_ref > 0"),
        ({"dropout": 0.1}, "no field dropout"),
    ],
)
def test_what_no_model_can_be_built_from_is_refused(
    overrides: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        create_config("small", **overrides)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="choose from tiny, small, base"):
        create_model("huge")


def test_small_fits_the_sizes_it_is_shipped_with() -> None:
    config = create_config("small")
    assert config.image_size == (240, 320)
    assert (config.patches, config.probes, config.tokens) == (300, 32, 332)
    parameters = sum(p.numel() for p in create_model("small").parameters())
    assert parameters * 2 < 12_000_000  # bytes in float16


def test_base_has_the_shape_of_trecvit_b() -> None:
    config = create_config("base")
    assert (config.width, config.depth, config.heads, config.mlp_dim) == (768, 12, 12, 3072)
    assert (config.lru_width, config.conv_width, config.min_rad) == (1536, 4, 0.5)
    assert (config.image_size, config.patches, config.class_token) == ((224, 224), 196, True)
