// A Python algorithm's wheels as one archive: `requirements.txt` and every `*.whl` of a directory. Its
// bytes follow from names and contents alone, so that two machines get the same digest.
import { CocosError, messageOf } from "./errors.ts";
import { byteOrder, type ZipEntry } from "./zip.ts";

/** Modification time of each entry: the earliest a zip can hold. */
const MTIME = new Date("1980-01-01T00:00:00Z");

/**
 * Entries of a wheelhouse's archive, for {@linkcode zipEntries}.
 *
 * @param requirements file to send as requirements.txt; absent, the directory's own
 * @throws {CocosError} `not-found` without requirements, `invalid-argument` without wheels.
 */
export async function listWheelhouse(
  directory: string,
  requirements?: string,
): Promise<ZipEntry[]> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(directory)) {
      if (name.endsWith(".whl")) names.push(name);
    }
  } catch (cause) {
    throw unreadable(directory, cause);
  }
  if (names.length === 0) {
    throw new CocosError(
      "invalid-argument",
      `Cannot upload the wheelhouse ${JSON.stringify(directory)} as it has no *.whl file`,
      { hint: "`pip download -r requirements.txt -d <directory>` fills one." },
    );
  }
  const files: [string, string][] = [
    ["requirements.txt", requirements ?? `${directory}/requirements.txt`],
    ...names.sort(byteOrder).map((name) => [name, `${directory}/${name}`] as [string, string]),
  ];
  const entries: ZipEntry[] = [];
  for (const [name, path] of files) {
    const { isFile, size } = await Deno.stat(path).catch((cause) => {
      throw unreadable(path, cause);
    });
    if (!isFile) {
      throw new CocosError(
        "invalid-argument",
        `Cannot upload ${JSON.stringify(path)} as it is not a regular file`,
      );
    }
    entries.push({ path, name, mode: 0o100644, mtime: MTIME, size });
  }
  return entries;
}

function unreadable(path: string, cause: unknown): CocosError {
  const missing = cause instanceof Deno.errors.NotFound;
  return new CocosError(
    missing ? "not-found" : "io",
    `Cannot read ${JSON.stringify(path)}: ${
      missing ? "no such file or directory" : messageOf(cause)
    }`,
    { cause },
  );
}
