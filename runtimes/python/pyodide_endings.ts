// How the Pyodide child tells the runner what came of a script: by exit codes the script can't choose.

/** Highest exit code a script can have told as it is; sandboxes use those above. */
export const MAX_SCRIPT_CODE = 125;

/** Exit codes of the child itself. */
export const PyodideExit = {
  /** The script's exit code was above {@linkcode MAX_SCRIPT_CODE}. */
  CODE_ABOVE: 200,
  /** The interpreter did not start. */
  NOT_STARTED: 201,
  /** The interpreter broke down: out of memory, or a mistake of it. */
  BROKEN: 202,
} as const;
