#!/usr/bin/env node
/** The entry point, and the only file that reads the environment. cli/table.ts lists the commands. */
import { isSea } from "node:sea";
import { cacheCompiledCode } from "./cli/compile-cache.ts";

const script = isSea() ? undefined : import.meta.filename;
// Before the import of all other files. The single executable has a cache in it.
const cached = script === undefined ? {} : cacheCompiledCode(import.meta.dirname);
const { argv } = process;
const env = { ...cached, ...process.env };
// A callback, so that the whole file is on no stack: V8 would parse it again for the first stack trace, and pino takes one. In the executable, a file of
// 7 MB, that costs 100 ms in each process.
void import("./cli/main.ts").then(({ main }) => main({ env, args: argv.slice(2), script }));
