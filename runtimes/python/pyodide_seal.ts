// The Python that runs before a script in Pyodide: it takes the bridge to JavaScript away, then gives a
// function that runs the script as `python3 -I -B` would and answers its exit code (threats S-14). Python
// hides nothing from who looks long enough: what then holds is the process, which has no rights, and
// the sandbox around it.

/** A Python program whose value is the function `run(path, arguments as JSON)`. */
export const SEALED = `
def _seal():
    import _imp, json, os, posix, runpy, sys, traceback

    # Emscripten starts a process for it by node:child_process: refused, but as the interpreter's end.
    del os.system, posix.system

    away = {"js", "pyodide_js", "pyodide", "_pyodide", "_pyodide_core", "micropip", "webbrowser"}

    class Gone:
        """First of all finders: these modules are not there."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            if name.partition(".")[0] in away:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return None

    def builtin(spec, create=_imp.create_builtin):
        Gone.find_spec(spec.name)
        return create(spec)

    # The bridge is built in: without the finder above it would still be found.
    _imp.create_builtin = builtin

    def exit_code(code):
        if code is None:
            return 0
        if isinstance(code, int):
            return code & 255
        print(code, file=sys.stderr)
        return 1

    def run(path, arguments):
        sys.argv = [path, *json.loads(arguments)]
        sys.dont_write_bytecode = True
        try:
            runpy.run_path(path, run_name="__main__")
            code = 0
        except SystemExit as error:
            code = exit_code(error.code)
        except BaseException:
            traceback.print_exc()
            code = 1
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BaseException:
                code = code or 1
        return code

    sys.meta_path[:] = [Gone] + [
        finder for finder in sys.meta_path
        if not type(finder).__module__.startswith(("pyodide", "_pyodide"))
    ]
    sys.path_hooks[:] = [
        hook for hook in sys.path_hooks
        if not getattr(hook, "__module__", "").startswith(("pyodide", "_pyodide"))
    ]
    for name in list(sys.modules):
        if name.partition(".")[0] in away:
            del sys.modules[name]
    import __main__
    for name in [name for name in vars(__main__) if not name.startswith("__")]:
        del vars(__main__)[name]
    return run

_seal()
`;
