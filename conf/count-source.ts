/**
 * `npm run count -- [FOLDER…]`: the size of this source tree, or of others, as a table for docs/contributing/size.md.
 * Source is TypeScript and JavaScript outside of test/ and conf/lint; what a row counts is its name.
 */
import { join } from "node:path/posix";
import { layerProblem } from "./lint/layers.ts";
import { loadSourceFiles, countByFolder, duplicateTypes, type SourceFile } from "./lint/words.ts";

type Measure = (all: readonly SourceFile[], source: readonly SourceFile[]) => number | string;

const CODE = /\.(ts|tsx|js|mjs)$/;
const IMPORT = /\b(?:from|import)[ (]"(\.[^"]+)"/g;
/** The browser's page and the forwarding engines are not clients of an API. */
const NO_CLIENT = /^(control\/console\/web|gateway\/(forward|connections|exchange|http-proxy))\//;
const OUTGOING = /import \{[^}]*\brequest\b[^}]*\} from "(?:node:https?|undici)"/;

const MEASURES: Record<string, Measure> = {
  "source files": (_, source) => source.length,
  "lines of source": (_, source) => sum(source.map(linesOf)),
  "lines of a file: median": (_, source) => quantile(source.map(linesOf), 0.5),
  "lines of a file: 90th percentile": (_, source) => quantile(source.map(linesOf), 0.9),
  "lines of a file: most": (_, source) => Math.max(...source.map(linesOf)),
  "files of at most 25 lines": (_, source) => source.filter((file) => linesOf(file) <= 25).length,
  "files of tests": (all) => all.filter(isTest).length,
  "lines of tests": (all) => sum(all.filter(isTest).map(linesOf)),
  "words of the list per 1,000 lines": (all) => ((sum(Object.values(countByFolder(all))) * 1_000) / sum(all.map(linesOf))).toFixed(2),
  "exported type names that are not unique": (all) => duplicateTypes(all).size,
  "files in import cycles, types included": (_, source) => filesInCycles(source),
  "longest chain of imports in control/lifecycle, in files": (_, source) =>
    longestChain(source.filter(({ path }) => path.startsWith("control/lifecycle/"))),
  "imports against the layers": (_, source) => importsOf(source).filter(([file, imported]) => layerProblem(file, imported)).length,
  "files that send HTTP requests": (_, source) => source.filter(({ path, text }) => !NO_CLIENT.test(path) && OUTGOING.test(text)).length,
  "folders that read a registry's challenge": (_, source) =>
    new Set(
      source
        .filter(({ text }) => /headers?(\("www-authenticate"\)|\["www-authenticate"\])/.test(text))
        .map(({ path }) => path.split("/").slice(0, 2).join("/")),
    ).size,
  "files that make an AbortController": (_, source) => source.filter(({ text }) => text.includes("new AbortController")).length,
};

const folders = process.argv.slice(2);
const counts = (folders.length > 0 ? folders : [join(import.meta.dirname, "..")]).map((folder) => {
  const all = loadSourceFiles(folder);
  return { all, source: all.filter((file) => CODE.test(file.path) && !isTest(file) && !file.path.startsWith("conf/lint/")) };
});
for (const [name, measure] of Object.entries(MEASURES)) {
  console.log(`| ${name} | ${counts.map(({ all, source }) => String(measure(all, source))).join(" | ")} |`);
}

function isTest({ path }: SourceFile): boolean {
  return path.startsWith("test/") && CODE.test(path);
}

function linesOf({ text }: SourceFile): number {
  return text.split("\n").length - 1;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function quantile(numbers: readonly number[], share: number): number {
  return numbers.toSorted((one, other) => one - other)[Math.floor((numbers.length - 1) * share)] ?? 0;
}

/** Importing and imported path, types included. */
function importsOf(files: readonly SourceFile[]): [string, string][] {
  return files.flatMap(({ path, text }) => [...text.matchAll(IMPORT)].map((match): [string, string] => [path, join(path, "..", match[1] ?? "")]));
}

/** A file is in a cycle if it is among what it imports, directly or not. */
function filesInCycles(files: readonly SourceFile[]): number {
  const imports = Map.groupBy(importsOf(files), ([file]) => file);
  const reaches = (start: string) => {
    const reached = new Set<string>();
    const open = [start];
    for (let file = open.pop(); file !== undefined; file = open.pop()) {
      for (const [, imported] of imports.get(file) ?? []) {
        if (imported === start) return true;
        if (!reached.has(imported)) open.push(imported);
        reached.add(imported);
      }
    }
    return false;
  };
  return files.filter(({ path }) => reaches(path)).length;
}

/** The number of files in the longest chain of imports among these. In a cycle, a file counts once. */
function longestChain(files: readonly SourceFile[]): number {
  const imports = Map.groupBy(importsOf(files), ([file]) => file);
  const paths = new Set(files.map(({ path }) => path));
  const lengths = new Map<string, number>();
  const lengthOf = (path: string): number => {
    const length = lengths.get(path);
    if (length !== undefined) return length;
    lengths.set(path, 0);
    const longest = 1 + Math.max(0, ...(imports.get(path) ?? []).map(([, imported]) => (paths.has(imported) ? lengthOf(imported) : 0)));
    lengths.set(path, longest);
    return longest;
  };
  return Math.max(0, ...[...paths].map(lengthOf));
}
