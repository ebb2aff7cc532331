"""Measures Hugging Face transformers on the work that `plm bench` measures.

    python benches/reference/transformers_plm.py MODEL [--repeat 5] [--json]
    python benches/reference/transformers_plm.py MODEL --device cuda --tiles 36 --prompts 306,9500

MODEL is a checkpoint folder, such as `cargo run --release --example random_checkpoint -- 1b MODEL`
writes. Each dtype (f32, bf16) and number of threads (1, 2) runs in a process of its own; of each
figure the best is given too, although a user has to choose one dtype. Times are medians in seconds.
With `--device cuda`, in bf16 and with one thread unless told otherwise, everything but preprocessing is
done on the GPU, whose own peak of memory is given.
`--tiles` and `--prompts` are as for `plm bench`, which takes no more tiles than there are (36 of 36), and no
prompt that is too long. Figures of prompts of 1000 tokens or more are of 3 times at most; on the CPU f32
alone reads them, and answers in a batch, since bf16 may take many minutes.

Needs: torch, torchvision, transformers, timm, pillow, numpy.
"""

import argparse
import json
import subprocess
import sys
import time

SHORT = 306  # one tile and fifty tokens of text
LONG = 1000
ANSWER = 64
BATCH = 8


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


def measure(path, dtype, threads, repeat, device, tiles, prompts):
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
    pixel_values = torch.rand(1, tiles, 3, 448, 448, dtype=dtype, device=device) * 2 - 1

    def vision():
        return model.model.get_image_features(pixel_values=pixel_values)

    def read(tokens, batch=1):
        ids = torch.arange(tokens, device=device).expand(batch, -1) * 7919 % 1000
        out = text(inputs_embeds=text.embed_tokens(ids), use_cache=True)
        return out.past_key_values, head(out.last_hidden_state[:, -1:]).argmax(-1)

    def answer(cache, token, count):
        for _ in range(count):
            out = text(inputs_embeds=text.embed_tokens(token), past_key_values=cache, use_cache=True)
            token = head(out.last_hidden_state).argmax(-1)

    def times_of(tokens):
        return repeat if tokens < LONG else min(repeat, 3)

    def decode(tokens, batch=1):
        def once():
            cache, token = read(tokens, batch)
            synchronize()
            start = time.perf_counter()
            answer(cache, token, ANSWER // 2)
            synchronize()
            return batch * ANSWER // 2 / (time.perf_counter() - start)

        if device != "cpu":
            once()
        times = times_of(tokens)
        return sorted(once() for _ in range(times))[times // 2]

    def whole():
        model.model.get_image_features(pixel_values=pixel_values[:, :1])
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
        "answer_s": median(max(1, repeat // 2), whole, synchronize),
    }
    is_fast = dtype == torch.float32 or device != "cpu"
    for tokens in prompts:
        if tokens < LONG or is_fast:
            read_once = lambda: read(tokens)
            figures[f"prefill_{tokens}_s"] = median(times_of(tokens), read_once, synchronize)
            figures[f"decode_{tokens}_tokens_per_s"] = decode(tokens)
    if is_fast:
        figures[f"decode_batch_{BATCH}_tokens_per_s"] = decode(SHORT, BATCH)
    with open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM"))
    figures["peak_rss_bytes"] = int(peak.split()[1]) * 1024
    if device != "cpu":
        figures["peak_device_bytes"] = torch.cuda.max_memory_reserved()
    print(json.dumps(figures))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="*", help="default 1 2; on cuda 1")
    parser.add_argument("--dtypes", nargs="*", help="default float32 bfloat16; on cuda bfloat16")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--tiles", type=int, default=1)
    parser.add_argument("--prompts", default="306,3000")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("DTYPE", "THREADS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        prompts = [int(tokens) for tokens in args.prompts.split(",")]
        dtype, threads = args.one
        return measure(
            args.model, dtype, int(threads), args.repeat, args.device, args.tiles, prompts
        )
    on_cpu = args.device == "cpu"
    runs = {}
    for dtype in args.dtypes or (["float32", "bfloat16"] if on_cpu else ["bfloat16"]):
        for threads in args.threads or ([1, 2] if on_cpu else [1]):
            command = [sys.executable, __file__, args.model, "--repeat", str(args.repeat)]
            command += ["--device", args.device, "--tiles", str(args.tiles)]
            command += ["--prompts", args.prompts]
            out = subprocess.run(
                command + ["--one", dtype, str(threads)], check=True, stdout=subprocess.PIPE
            )
            runs[f"{dtype}, {threads} threads"] = json.loads(out.stdout.splitlines()[-1])
    names = {name for run in runs.values() for name in run}

    def is_rate(name):
        return name.endswith("_per_s") or name == "matrix_flops"

    best = {
        name: (max if is_rate(name) else min)(run[name] for run in runs.values() if name in run)
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
