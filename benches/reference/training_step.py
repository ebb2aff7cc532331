"""Measures a training step of Hugging Face transformers and PEFT, for `plm train` to be compared with.

    python benches/reference/training_step.py MODEL [--train lora|frozen_vision] [--steps 5]

One tile of 448x448, 50 tokens of text and an answer of 64 tokens, AdamW. Times are medians in
seconds; peak memory is of the whole process.

Needs: torch, torchvision, transformers, timm, peft.
"""

import argparse
import json
import resource
import time

TILE_TOKENS = 256  # 32 by 32 patches, pooled two by two


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--train", choices=["lora", "frozen_vision"], default="lora")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    args = parser.parse_args()

    import torch
    from transformers import PerceptionLMForConditionalGeneration

    torch.set_num_threads(args.threads)
    model = PerceptionLMForConditionalGeneration.from_pretrained(
        args.model, dtype=getattr(torch, args.dtype)
    )
    if args.train == "lora":
        from peft import LoraConfig, get_peft_model

        layers = "q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj"
        config = LoraConfig(target_modules=rf".*language_model.*\.({layers})")
        model = get_peft_model(model, config)
    else:
        for name, parameter in model.named_parameters():
            parameter.requires_grad = "vision_tower" not in name
    picture = torch.full((1, TILE_TOKENS), model.config.image_token_id)
    text = torch.arange(50)[None] * 31 % 1000
    answer = torch.arange(64)[None] * 7919 % 1000
    ids = torch.cat([text, picture, answer], 1)
    labels = torch.cat([torch.full((1, ids.shape[1] - 64), -100), answer], 1)
    pixels = (torch.rand(1, 1, 3, 448, 448) * 2 - 1).to(model.dtype)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    times, losses = [], []
    for _ in range(args.steps + 1):
        start = time.perf_counter()
        out = model(
            input_ids=ids,
            pixel_values=pixels,
            attention_mask=torch.ones_like(ids),
            labels=labels,
        )
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
        losses.append(float(out.loss))
    times = sorted(times[1:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps(
            {
                "tokens": ids.shape[1],
                "step_s": times[len(times) // 2],
                "first_loss": losses[0],
                "last_loss": losses[-1],
                "peak_rss_bytes": peak,
            }
        )
    )


main()
