// Starts berth's bundle, which is beside this file, with V8's compiled form of what a process of this role ran in an earlier start. Node's own cache of
// compiled code has no function of a file that was first called later than at its load: each process compiled thousands of them anew.
const { readFileSync, renameSync, writeFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const { join } = require("node:path");
const { constants, Script } = require("node:vm");

const filename = join(__dirname, "bundle.cjs");
const [, , role = "serve"] = process.argv;
const codeOf = (name) => join(__dirname, `${name}.code`);
const isFirst = process.env["TEST_FIRST_START"] !== undefined;

function loadCode() {
  if (isFirst) return undefined;
  for (const name of [role, "serve"]) {
    try {
      return readFileSync(codeOf(name));
    } catch {
      // Another role's is valid, too, but has less of what this one runs.
    }
  }
  return undefined;
}

const source = `(function (exports, require, module, __filename, __dirname) {${readFileSync(filename, "latin1")}\n})`;
const importModuleDynamically = constants.USE_MAIN_CONTEXT_DEFAULT_LOADER;
const script = new Script(source, { filename, cachedData: loadCode(), importModuleDynamically });
if (isFirst)
  process.once("exit", () => {
    const file = codeOf(role);
    writeFileSync(`${file}.${process.pid}`, script.createCachedData());
    renameSync(`${file}.${process.pid}`, file);
  });
// With this file's name: berth starts its other processes with it.
script.runInThisContext()(exports, createRequire(filename), module, __filename, __dirname);
