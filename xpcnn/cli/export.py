"""``xpcnn export FILE.onnx`` and ``xpcnn export --web FOLDER``."""

from __future__ import annotations

import argparse

from xpcnn.cli.common import load_model, say


def run(args: argparse.Namespace) -> None:
    """Write an ONNX file or a page."""
    from xpcnn import web  # here: it reads many modules that no other command needs
    from xpcnn.interop import onnx

    _check_options(args)
    model = load_model(args.model, "cpu")
    if args.web is None:
        onnx.save(model, args.file, **({} if args.opset is None else {"opset": args.opset}))
        say(f"saved to {args.file}")
        return
    if model.dtype != "float32":
        say(f"the weights become float32, which browsers compute in (they are {model.dtype})")
        model.to(dtype="float32")
    for path in web.export(model, args.web, runtime=args.runtime):
        say(f"{path.stat().st_size:>12,} bytes  {path}")
    say("\nThe page works without a network, from any web server. To look at it, run")
    say(f'  python -m http.server --bind 127.0.0.1 --directory "{args.web}"')
    say("and open http://127.0.0.1:8000")


def _check_options(args: argparse.Namespace) -> None:
    if args.file is None and args.web is None:
        args.usage_error("give the ONNX file to write, or --web FOLDER for a page")
    if args.web is None:
        if args.runtime is not None:
            args.usage_error("argument --runtime: has an effect with --web only")
    elif args.file is not None:
        args.usage_error(f"argument --web: is in the place of {args.file}; give one of the two")
    elif args.opset is not None:
        args.usage_error("argument --opset: has no effect with --web")
