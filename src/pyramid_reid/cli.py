"""The command line `pyramid-reid`: what each command takes, and what it ends with."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from pyramid_reid.core import printing
from pyramid_reid.core.errors import UserError, shortage


def main() -> int:
    """Run the command that is given; the number to end with (2: it could not be done)."""
    printing.end_when_lost()
    given = _parser().parse_args()
    try:
        code: int = given.run(given)
    except UserError as error:
        print(f"pyramid-reid {given.command}: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        missing = shortage(error)
        if missing is None:
            raise
        print(f"pyramid-reid {given.command}: {missing}", file=sys.stderr)
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pyramid-reid",
        description="Find a person in crops, and tools beside the stages of the pipeline.",
        epilog="example: pyramid-reid search --help",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    runs = commands.add_parser(
        "compare",
        help="the first stage whose bytes differ between two runs",
        description="Name the first stage whose bytes differ between two runs, and by how much"
        " their figures do. Ends with 0 when all outs are the same, with 1 when some differ, and"
        " with 2 when it cannot tell, as `diff` does.",
        epilog="example: pyramid-reid compare main my-experiment",
    )
    for name in ("a", "b"):
        runs.add_argument(name, help="folder with a dvc.lock, Git revision, or experiment")
    runs.set_defaults(run=_compare)

    per_query = commands.add_parser(
        "compare-queries",
        help="the same queries in two experiments: differences with intervals and p",
        description="Compare two experiments query by query: A minus B in points of percent, with"
        " 95 % intervals and paired tests over identities. A and B are their"
        " data/evaluation/queries.csv; `dvc get . data/evaluation/queries.csv --rev NAME -o B.csv`"
        " fetches that of another experiment.",
        epilog="example: pyramid-reid compare-queries data/evaluation/queries.csv B.csv",
    )
    for name in ("a", "b"):
        per_query.add_argument(name, type=Path, help="queries.csv of an experiment")
    per_query.add_argument("--resamples", type=int, default=10_000, help="of identities and signs")
    per_query.add_argument("--seed", type=int, default=0, help="of the resamples")
    per_query.set_defaults(run=_compare_queries)
    _add_gallery(commands)
    _add_making(commands)
    _add_serve(commands)
    _add_doctor(commands)
    _add_preset(commands)
    return parser


def _add_preset(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command that prints the options of an experiment."""
    preset = commands.add_parser(
        "preset",
        help="options of `dvc exp run` for a data set or a purpose",
        description="Print the -S options of a preset.",
        epilog="example: dvc exp run $(pyramid-reid preset caviar4reid msmt17) -S data.splits=1"
        " -S data.root=/path/to/CAVIAR4REID",
    )
    preset.add_argument("name", nargs="?", help="of the preset")
    preset.add_argument("start", nargs="?", help="weights to start from, as reid.pretrained")
    preset.add_argument("--list", action="store_true", help="what each preset is for, and its cost")
    preset.set_defaults(run=_preset)


def _add_gallery(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Commands on a gallery store."""
    where = "condition in SQL on the columns, such as \"camera != 'lobby'\""
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument(
        "--store",
        type=_place,
        required=True,
        help="folder of the gallery store, or s3://BUCKET/NAME",
    )
    store.add_argument("--json", action="store_true", help="print one JSON object")
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--device", type=_device, default="cpu", help="cpu, cuda, cuda:1, … (cpu)")
    cluster = _ray_option()
    weights = "of the branches, as ori=0.4,h1=0.2,h2=0.2,h3=0.2"

    index = commands.add_parser(
        "index",
        parents=[store, device, cluster],
        help="put crops of people into a gallery store",
        description="Embed crops of people and put them into a gallery store, which is made where"
        " there is none. What is there is not computed again; after a kill the same command goes"
        " on with the rest. Ends with 3 when some files could not be read: they are listed.",
        epilog="example: pyramid-reid index crops/ --store gallery --camera-from '(c\\d+)_'",
    )
    index.add_argument(
        "gallery",
        nargs="+",
        type=Path,
        metavar="GALLERY",
        help="folder of crops; table (.csv, .parquet) with the column path and perhaps camera,"
        " time, track, a box (left, top, width, height) and further ones; MOTChallenge text file"
        " or its sequence's folder; or image",
    )
    index.add_argument(
        "--model", type=Path, default=Path("data/model"), help="model folder (data/model)"
    )
    index.add_argument(
        "--camera-from",
        metavar="REGEX",
        help="where the camera stands in a file's name, with its folders below GALLERY, as"
        " '(c\\d+)_'",
    )
    index.add_argument(
        "--time-from", metavar="REGEX", help="where the time stands, as '_(\\d{8}T\\d{6})_'"
    )
    index.add_argument(
        "--columns-from",
        metavar="REGEX",
        help="where further columns stand, as '(?P<pid>\\d+)_(?P<frame>\\d+)'",
    )
    index.add_argument(
        "--watch", action="store_true", help="go on with what is written there, until Ctrl-C"
    )

    search = commands.add_parser(
        "search",
        parents=[store, device],
        help="find a person in a gallery store",
        description="Rank the crops of a store by their distance to one or several crops of the"
        " same person. A rank is no identification.",
        epilog="example: pyramid-reid search person.jpg --store gallery --top 5",
    )
    search.add_argument(
        "query", nargs="+", metavar="QUERY", help="image, or id of a crop in the store"
    )
    search.add_argument(
        "--model",
        type=Path,
        help="model folder, whose weights and calibration hold; without it, data/model where a"
        " picture must be embedded, else those hold that the store was filled with",
    )
    search.add_argument("--weights", help=f"{weights} (the model's)")
    search.add_argument("--top", type=_positive, default=20, help="hits (20)")
    search.add_argument("--where", help=where)
    search.add_argument(
        "--group",
        metavar="COLUMN",
        help="show the nearest crop of each value, as of track, and how many it has",
    )
    search.add_argument(
        "--rerank",
        action="store_true",
        help="order the 200 nearest (--top, if that is more) by k-reciprocal re-ranking",
    )
    search.add_argument(
        "--centred",
        metavar="CAMERA",
        help="the query's camera; order the 200 nearest (--top, if that is more) by features less"
        " the mean of their camera",
    )
    search.add_argument(
        "--exact", action="store_true", help="compare with every crop instead of using the index"
    )
    search.add_argument(
        "--out", type=Path, help="write the hits as .csv, or as one .html page with pictures"
    )

    forget = commands.add_parser(
        "forget",
        parents=[store],
        help="remove crops from a gallery store for good",
        description="Remove crops, their features, and old versions that hold them. Says how many"
        " and asks before; image files stay where they are.",
        epilog="example: pyramid-reid forget --store gallery --where \"time < '2024-05-01'\"",
    )
    forget.add_argument("--where", required=True, help=where)
    forget.add_argument("--yes", action="store_true", help="do not ask")

    evaluate = commands.add_parser(
        "evaluate",
        parents=[store],
        help="Rank-k and mAP of a gallery store with identities",
        description="Rank-k, mAP and mINP where the store has a column pid or identity. With a"
        " column role, crops of role query are ranked against those of role gallery; else each crop"
        " against all others.",
        epilog="example: pyramid-reid evaluate --store gallery",
    )
    evaluate.add_argument("--weights", help=f"{weights} (those that the store was filled with)")
    evaluate.add_argument("--where", help=where)
    evaluate.add_argument(
        "--queries", type=_positive, metavar="N", help="judge so many, drawn at random (all)"
    )
    evaluate.add_argument(
        "--any-camera",
        action="store_true",
        help="let crops of the query's own person and camera count",
    )
    evaluate.add_argument(
        "--centred",
        action="store_true",
        help="judge features less the mean of their camera, over the crops that --where leaves",
    )

    optimize = commands.add_parser(
        "optimize",
        parents=[store, cluster],
        help="join a gallery store's files and build its index",
        description="`index` does this by itself; after it was interrupted, or to have the index"
        " fit the number of crops exactly, do it by hand. Prints recall against the exact scan.",
        epilog="example: pyramid-reid optimize --store gallery",
    )
    optimize.add_argument(
        "--anew", action="store_true", help="build the index even if there is one"
    )
    for name, parser in (
        ("index", index),
        ("search", search),
        ("forget", forget),
        ("evaluate", evaluate),
        ("optimize", optimize),
    ):
        parser.set_defaults(run=_gallery, function=name)


def _add_making(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Commands that make and use model folders."""
    told = argparse.ArgumentParser(add_help=False)
    told.add_argument("--json", action="store_true", help="print one JSON object")
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument(
        "--model", type=Path, default=Path("data/model"), help="model folder (data/model)"
    )

    pack = commands.add_parser(
        "pack",
        parents=[told],
        help="make a model folder from a published network, without training",
        description="Make a model folder whose four branches are one published network, to search"
        " without any identities of your own. The model of a finished pipeline is in data/model"
        " already.",
        epilog="example: pyramid-reid pack --start msmt17 --out model",
    )
    pack.add_argument(
        "--start",
        required=True,
        help="msmt17, msmt17_combineall or market1501 (torchreid's weights, looked for in the"
        " folder that PYRAMID_REID_WEIGHTS names, or fetched), or the path of a checkpoint",
    )
    pack.add_argument("--model", default="osnet_x0_25", help="its network (osnet_x0_25)")
    pack.add_argument("--height", type=_positive, default=256, help="of its input, pixels (256)")
    pack.add_argument("--width", type=_positive, default=128, help="of its input, pixels (128)")
    pack.add_argument(
        "--restorer",
        default="bicubic",
        help="bicubic, or the path of a reconstructor, as"
        " data/models/reconstructor/split_0/model.safetensors (bicubic)",
    )
    pack.add_argument("--out", type=Path, required=True, help="folder that is made")

    restore = commands.add_parser(
        "restore",
        parents=[told, model, _ray_option()],
        help="restore a folder of images at the model's scales",
        description="Restore images of people and write OUT/xSCALE/NAME.png. Folders keep their"
        " folders inside. Ends with 3 when some files could not be read: they are listed.",
        epilog="example: pyramid-reid restore crops/ --model model --out restored --scales 2,4",
    )
    restore.add_argument("images", nargs="+", type=Path, metavar="IN", help="folder, or image")
    restore.add_argument("--out", type=Path, required=True, help="folder for the PNG files")
    restore.add_argument("--scales", help="some of the model's, as 2,4 (all)")
    restore.add_argument("--device", type=_device, default="cpu", help="cpu, cuda, cuda:1, … (cpu)")

    export = commands.add_parser(
        "export",
        parents=[told, model],
        help="write the model's networks as ONNX, checked against torch",
        description="Write the OSNets, named and fed as boxmot does it, and the restorer as ONNX,"
        " and run each by ONNX Runtime: prints the largest difference from torch, and whether both"
        " rank alike.",
        epilog="example: pyramid-reid export --model model --onnx onnx --crops crops/",
    )
    export.add_argument("--onnx", type=Path, required=True, help="folder for the files")
    export.add_argument("--crops", type=Path, help="folder of crops to check with (random ones)")
    for name, parser in (("pack", pack), ("restore", restore), ("export", export)):
        parser.set_defaults(run=_making, function=name)


def _ray_option() -> argparse.ArgumentParser:
    """The option of what a cluster can do."""
    cluster = argparse.ArgumentParser(add_help=False)
    cluster.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="work on the machines of a Ray cluster: --ray auto (that of this machine), HOST:PORT,"
        " or local; see docs/scale.md",
    )
    return cluster


def _place(text: str) -> str | Path:
    """A folder, or an address as it is."""
    return text if "://" in text else Path(text)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return number


def _device(text: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text} is not supported: give cpu, cuda, or cuda:1, …")
    return text


def _gallery(given: argparse.Namespace) -> int:
    from pyramid_reid.search import commands

    code: int = getattr(commands, given.function)(given)
    return code


def _making(given: argparse.Namespace) -> int:
    from pyramid_reid.search import making

    code: int = getattr(making, given.function)(given)
    return code


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="a page in the browser, and a JSON interface, that search a store",
        description="Search a store from a browser: give crops of a person, move the weights of the"
        " branches, filter by camera and time, mark hits and export the case. Programs send the"
        " same searches as JSON (described at /docs). Only this machine reaches it unless --host"
        " names another address, which then needs a token. Ends with Ctrl-C.",
        epilog="example: pyramid-reid serve --model model --store gallery",
    )
    serve.add_argument(
        "--store", type=_place, required=True, help="that `pyramid-reid index` filled"
    )
    serve.add_argument(
        "--model",
        type=Path,
        default=Path("data/model"),
        help="model folder, whose weights and calibration hold (%(default)s)",
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    serve.add_argument("--port", type=int, default=8000, help="0: any that is free (%(default)s)")
    serve.add_argument(
        "--token",
        action="append",
        default=[],
        metavar="[NAME=]TOKEN",
        help="who may ask, once per person; the log names them. By default those in the environment"
        " variable PYRAMID_REID_TOKEN, separated by spaces, which other users of this machine do"
        " not see; without any, another address than this machine's gets a token that is printed",
    )
    logs = serve.add_mutually_exclusive_group()
    logs.add_argument(
        "--log", type=Path, help="file for who searched what and when (searches.jsonl in the store)"
    )
    logs.add_argument(
        "--no-log", action="store_true", help="log no searches; only where this machine alone asks"
    )
    serve.set_defaults(run=_serve)


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="versions, threads, device, cache, remote and model, for a bug report",
        description="Print what a bug report should say of the machine, the project in this folder"
        " and the model, a line each. Passwords in addresses of remotes are left out. Works without"
        " DVC, Git and a project.",
        epilog="example: pyramid-reid doctor --model model",
    )
    doctor.add_argument(
        "--model", type=Path, default=Path("data/model"), help="model folder (%(default)s)"
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    doctor.set_defaults(run=_doctor)


def _compare(given: argparse.Namespace) -> int:
    from pyramid_reid.compare import differences, runs

    ours, theirs = (runs.read(name, Path()) for name in (given.a, given.b))
    for part in (differences.first_stage, differences.figures, differences.records):
        print("\n".join(part(ours, theirs)))
    return 1 if differences.changed_stages(ours, theirs) else 0


def _compare_queries(given: argparse.Namespace) -> int:
    from pyramid_reid.compare import queries

    print(queries.report(given.a, given.b, given.resamples, given.seed))
    return 0


def _doctor(given: argparse.Namespace) -> int:
    from pyramid_reid import doctor

    facts = doctor.examine(Path(), given.model)
    print(json.dumps(facts, indent=2) if given.json else "\n".join(doctor.lines(facts)))
    return 0


def _serve(given: argparse.Namespace) -> int:
    from pyramid_reid.search.serve.run import serve

    return serve(
        given.store, given.model, given.host, given.port, given.token, given.log, given.no_log
    )


def _preset(given: argparse.Namespace) -> int:
    from pyramid_reid import presets

    if given.list or given.name is None:
        print(presets.table())
        return 0
    print(" ".join(presets.read(given.name).options(given.start)))
    return 0
