"""Measures Hugging Face transformers on the work that `plm bench` measures.

    python benches/reference/transformers_plm.py MODEL [--repeat 5] [--device cuda] [--json]

MODEL is a checkpoint folder, such as `cargo run --release --example random_checkpoint -- 1b MODEL`
writes. Each dtype (f32, bf16) and number of threads (1, 2) runs in a process of its own; of each
figure the best is given too, although a user has to choose one dtype. Times are medians in seconds.
With `--device cuda` everything but preprocessing is done on the GPU, whose own peak of memory is given.

Needs: torch, torchvision, transformers, timm, pillow, numpy.
"""

import argparse
import json
import subprocess
import sys
import time

SHORT = 306  # one tile and fifty tokens of text
LONG = 3000
ANSWER = 64


def median(repeat, work, synchronize=lambda: None):
    work()
    times = []
    for _ in range(repeat):
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def measure(path, dtype, threads, repeat, device):
    start = time.perf_counter()
    import numpy as np
    import torch
    from PIL import Image
    from transformers import PerceptionLMForConditionalGeneration
    from transformers.models.perception_lm.image_processing_perception_lm import (
        PerceptionLMImageProcessor,
    )

    imported = time.perf_counter() - start
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)

    def synchronize():
        if device != "cpu":
            torch.cuda.synchronize()

    synchronize()
    start = time.perf_counter()
    model = PerceptionLMForConditionalGeneration.from_pretrained(
        path, dtype=getattr(torch, dtype), attn_implementation="sdpa"
    )
    model.to(device).eval()
    synchronize()
    load = time.perf_counter() - start
    text, head = model.model.language_model, model.lm_head
    dtype = text.embed_tokens.weight.dtype
    tile = torch.rand(1, 1, 3, 448, 448, dtype=dtype, device=device) * 2 - 1

    def vision():
        return model.model.get_image_features(pixel_values=tile)

    def read(tokens):
        ids = torch.arange(tokens, device=device)[None] * 7919 % 1000
        out = text(inputs_embeds=text.embed_tokens(ids), use_cache=True)
        return out.past_key_values, head(out.last_hidden_state[:, -1:]).argmax(-1)

    def answer(cache, token, count):
        for _ in range(count):
            out = text(inputs_embeds=text.embed_tokens(token), past_key_values=cache, use_cache=True)
            token = head(out.last_hidden_state).argmax(-1)

    def decode(tokens):
        cache, token = read(tokens)
        synchronize()
        start = time.perf_counter()
        answer(cache, token, ANSWER // 2)
        synchronize()
        return ANSWER // 2 / (time.perf_counter() - start)

    def whole():
        vision()
        answer(*read(SHORT), ANSWER - 1)

    pixels = np.random.default_rng(0).integers(0, 256, (1147, 1920, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    processor = PerceptionLMImageProcessor(
        tile_size=448, max_num_tiles=36, vision_input_type="thumb+tile"
    )
    q, k, v = (torch.rand(1, 16, 1025, 64, dtype=dtype, device=device) for _ in range(3))
    attention = torch.nn.functional.scaled_dot_product_attention
    matrix_dtype = torch.float32 if device == "cpu" else dtype
    x, w = (torch.rand(2048, 2048, dtype=matrix_dtype, device=device) for _ in range(2))
    figures = {
        "import_s": imported,
        "load_s": load,
        "preprocess_s": median(repeat, lambda: processor(images=picture, return_tensors="pt")),
        "vision_s": median(repeat, vision, synchronize),
        "attention_s": median(repeat, lambda: attention(q, k, v), synchronize),
        "matrix_flops": 2 * 2048**3 / median(repeat, lambda: x @ w.T, synchronize),
        "prefill_s": median(repeat, lambda: read(SHORT), synchronize),
        "decode_tokens_per_s": sorted(decode(SHORT) for _ in range(repeat))[repeat // 2],
        "answer_s": median(max(1, repeat // 2), whole, synchronize),
    }
    if dtype == torch.float32 or device != "cpu":
        figures["long_prefill_s"] = median(1, lambda: read(LONG), synchronize)
    with open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM"))
    figures["peak_rss_bytes"] = int(peak.split()[1]) * 1024
    if device != "cpu":
        figures["peak_device_bytes"] = torch.cuda.max_memory_allocated()
    print(json.dumps(figures))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("DTYPE", "THREADS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return measure(args.model, args.one[0], int(args.one[1]), args.repeat, args.device)
    runs = {}
    for dtype in ("float32", "bfloat16"):
        for threads in args.threads:
            command = [sys.executable, __file__, args.model, "--repeat", str(args.repeat)]
            command += ["--device", args.device]
            out = subprocess.run(
                command + ["--one", dtype, str(threads)], check=True, stdout=subprocess.PIPE
            )
            runs[f"{dtype}, {threads} threads"] = json.loads(out.stdout.splitlines()[-1])
    names = {name for run in runs.values() for name in run}
    higher = {"decode_tokens_per_s", "matrix_flops"}
    best = {
        name: (max if name in higher else min)(run[name] for run in runs.values() if name in run)
        for name in sorted(names)
    }
    runs["best of each"] = best
    if args.json:
        print(json.dumps(runs))
        return
    for name, run in runs.items():
        print(name)
        for figure, value in run.items():
            print(f"  {figure:<24}{value:>16.4g}")


if __name__ == "__main__":
    main()
