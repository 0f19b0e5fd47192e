import assert from "node:assert/strict";
import fc from "fast-check";
import { MAX_REQUIREMENTS, readRequirements } from "./requirements.ts";

const DIGEST = "a".repeat(64);

Deno.test("readRequirements() takes names, extras, versions, markers, comments and hashes", () => {
  const file = `\ufeff# a comment with -r inside \\
numpy
pandas==2.2.*   # pinned
scikit-learn >=1.4, <2 ; python_version >= "3.9" and (os_name == 'posix')\r
requests[socks,use_chardet_on_py3]~=2.31
attrs (>=23.1)
six==1.16.0 \\
    --hash=sha256:${DIGEST} \\
    --hash sha256:${"b".repeat(64)}
zope.interface!=5.0
epoch===1!2.0+local-1`;
  const requirements = readRequirements(file);
  assert.deepEqual(requirements.map(({ name, line }) => [name, line]), [
    ["numpy", 2],
    ["pandas", 3],
    ["scikit-learn", 4],
    ["requests", 5],
    ["attrs", 6],
    ["six", 7],
    ["zope.interface", 10],
    ["epoch", 11],
  ]);
  assert.deepEqual(requirements[5]?.hashes, [`sha256:${DIGEST}`, `sha256:${"b".repeat(64)}`]);
  assert.deepEqual(readRequirements("\n  \n# nothing\n"), []);
});

Deno.test("readRequirements() S-12 refuses every other source, path and option with its line", () => {
  const hostile = [
    "-e .",
    "-e git+https://example.org/x#egg=x",
    "--editable=./x",
    "-r /etc/passwd",
    "--requirement other.txt",
    "-c constraints.txt",
    "-i https://evil.example/simple",
    "--index-url https://evil.example/simple",
    "--extra-index-url=https://evil.example/simple",
    "-f /cocos/datasets",
    "--find-links /",
    "--no-binary :all:",
    "--only-binary :none:",
    "--trusted-host evil.example",
    "--pre",
    "--use-feature=fast-deps",
    "--config-settings x=y",
    "--global-option=x",
    "https://evil.example/x.whl",
    "http://evil.example/x.tar.gz",
    "file:///cocos/datasets/x.whl",
    "git+ssh://git@example.org/x",
    "svn+http://example.org/x",
    "numpy @ https://evil.example/numpy.whl",
    "numpy@https://evil.example/numpy.whl",
    "numpy[x]@https://evil.example/numpy.whl",
    "numpy @ file:///etc/passwd",
    "./local",
    "../up",
    "/abs/path",
    "dir/sub",
    "numpy-1.0-py3-none-any.whl",
    "numpy-1.0.tar.gz",
    ".",
    "..",
    "numpy --global-option=build_ext",
    "numpy==1 --config-settings=x=y",
    "numpy==1 --hash=md5:abcd",
    "numpy==1 --hash=sha256:zz",
    "numpy --index-url https://evil.example/",
    "${HOME}",
    "numpy==${VERSION}",
    "numpy==1 extra words",
    "numpy>1,,<2 x",
    "numpy; `id`",
    "numpy; os_name == $(id)",
    "numpу", // a Cyrillic letter
    "numpy\u202e",
    "x".repeat(200) + "!",
    "[extra]",
    "==1.0",
    "numpy ==",
  ];
  for (const line of hostile) {
    assert.throws(() => readRequirements(`six\n\n${line}\n`), {
      name: "RangeError",
      message: /^Requirements line 3 /,
    }, line);
  }
  // Continued lines are one line to pip, so they must be one to us.
  assert.throws(() => readRequirements("six \\\n --index-url=https://evil.example"), /line 1/);
  assert.throws(() => readRequirements("-\\\nr /etc/passwd"), /line 1/);
  assert.throws(() => readRequirements("a\n".repeat(MAX_REQUIREMENTS + 1)), /one more than/);
});

Deno.test("readRequirements() S-12 never lets a colon, slash or leading dash through", () => {
  fc.assert(fc.property(fc.string({ maxLength: 60 }), (text) => {
    let read;
    try {
      read = readRequirements(text);
    } catch (error) {
      assert.ok(error instanceof RangeError);
      return;
    }
    for (const { text, hashes } of read) {
      if (hashes.length === 0) assert.doesNotMatch(text, /^-|[:/@$`\\]/);
    }
  }));
});
