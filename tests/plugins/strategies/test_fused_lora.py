import peft
import pytest
import torch
import transformers

from harness_plugins.strategies import _fused_lora
from harness_plugins.strategies._fused_lora import fused

TOKENS = torch.arange(24).reshape(4, 6) % 20 + 3


def adapted(folder, **settings):
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    config = peft.LoraConfig(r=4, target_modules=["query", "dense"], exclude_modules=["classifier"], **settings)
    model = peft.get_peft_model(model, config)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at first, which would hide every mistake
            torch.nn.init.normal_(parameter)
    return model.eval()


def outputs_and_gradients(model):
    logits = model(input_ids=TOKENS, attention_mask=torch.ones_like(TOKENS)).logits
    logits.square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return logits.detach(), gradients


def layers(model):
    return [module for module in model.modules() if isinstance(module, peft.tuners.lora.Linear)]


def test_fused_layers_compute_what_pefts_do(tiny_model):
    model = adapted(tiny_model)
    logits, gradients = outputs_and_gradients(model)
    with fused(model):
        assert all("forward" in vars(layer) for layer in layers(model))
        fused_logits, fused_gradients = outputs_and_gradients(model)
    assert not any("forward" in vars(layer) for layer in layers(model))
    assert torch.allclose(fused_logits, logits, rtol=1e-5, atol=1e-5)
    assert fused_gradients.keys() == gradients.keys()
    assert len(gradients) == 2 * len(layers(model)) > 0
    for name, gradient in gradients.items():
        assert torch.allclose(fused_gradients[name], gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max())), name


@pytest.mark.parametrize(
    "settings",
    [{"use_dora": True}, {"lora_dropout": 0.1}, {"lora_bias": True, "bias": "none"}],
    ids=["DoRA", "dropout", "bias of its own"],
)
def test_every_variant_goes_pefts_own_way(tiny_model, settings):
    model = adapted(tiny_model, **settings)
    with fused(model):
        assert not any("forward" in vars(layer) for layer in layers(model))


def test_mixed_precision_and_a_disabled_adapter_go_pefts_own_way(tiny_model):
    model = adapted(tiny_model)
    inputs = {"input_ids": TOKENS, "attention_mask": torch.ones_like(TOKENS)}

    def answers():
        with torch.no_grad():
            with torch.autocast("cpu", torch.bfloat16):
                mixed = model(**inputs).logits
            with model.disable_adapter():
                return mixed, model(**inputs).logits

    expected = answers()
    with fused(model):
        for found, wanted in zip(answers(), expected, strict=True):
            assert torch.equal(found, wanted)


def test_an_output_may_be_changed_in_place_as_some_models_do(tiny_model):
    model = adapted(tiny_model)
    layer = layers(model)[0]
    with fused(model):
        inputs = torch.randn(2, 3, layer.in_features, requires_grad=True)
        heads = layer(inputs).view(2, 3, 2, -1).permute(0, 2, 1, 3)
        heads += 1
        heads.sum().backward()
    assert inputs.grad is not None


def test_a_layer_that_does_not_agree_with_pefts_goes_pefts_own_way(tiny_model, monkeypatch):
    model = adapted(tiny_model)
    right = _fused_lora._LoraLinear.forward
    monkeypatch.setattr(_fused_lora._LoraLinear, "forward", staticmethod(lambda *args: right(*args) * 1.01))
    with fused(model):
        assert not any("forward" in vars(layer) for layer in layers(model))


def test_the_self_check_draws_no_random_numbers(tiny_model):
    model = adapted(tiny_model)
    before = torch.get_rng_state()
    with fused(model):
        assert torch.equal(torch.get_rng_state(), before)
