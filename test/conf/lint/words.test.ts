import t from "tap";
import { countByFolder, duplicateTypes, findWords, lowered, wordProblems } from "../../../conf/lint/words.ts";

const file = (path: string, text: string) => ({ path, text });
const NONE = { words: {}, duplicateTypes: {} };

t.test("words are found in identifiers, comments, prose and kebab-case names", (t) => {
  t.same(findWords(file("a.ts", "const wasTold = 1;")), ["told"]);
  t.same(findWords(file("a.ts", "// Nobody waits.")), ["nobody"]);
  t.same(findWords(file("a.ts", 'import "./open-door.ts"; type StrangerList = 1; const ROOMS = 2;')), ["door", "stranger", "rooms"]);
  t.same(findWords(file("a.md", "by whoever\nneeds it, on its\nway")), ["whoever", "on its way"]);
  t.same(findWords(file("a.ts", "untold, broom, theRoommate, outdoors, peoples")), [], "parts of other words");
  t.end();
});

t.test("some words are refused as names, and allowed in sentences", (t) => {
  t.same(findWords(file("a.ts", "const found = 1; type Known = 2; function seen() {}")), ["found", "known", "seen"]);
  t.same(findWords(file("a.ts", "/** The container is found by its known id, as seen above. */ const foundId = 1;")), []);
  t.end();
});

t.test("terms that are stored or on the wire stay", (t) => {
  t.same(findWords(file("a.ts", 'moves.apply(row, "startWished"); view.standing.kind; // wished_on')), []);
  t.same(findWords(file("a.ts", "startWish(); wishedOn; // long-standing")), ["wish", "wished", "standing"]);
  t.end();
});

t.test("an exception names a file or folder and its words", (t) => {
  const exceptions = [
    { path: "a.ts", words: ["told"], reason: "on the wire" },
    { path: "conf/", words: "all" as const, reason: "stored" },
  ];
  t.same(findWords(file("a.ts", "told, wish"), exceptions), ["wish"]);
  t.same(findWords(file("b.ts", "told, wish"), exceptions), ["told", "wish"]);
  t.same(findWords(file("conf/b.ts", "told, wish"), exceptions), []);
  t.end();
});

t.test("the check fails on one word more than a folder is allowed", (t) => {
  const files = [file("cli/a.ts", "told"), file("cli/b.ts", "told"), file("page.md", "wish")];
  t.same(countByFolder(files), { cli: 2, ".": 1 });
  t.same(wordProblems(files, { words: { cli: 2, ".": 1 }, duplicateTypes: {} }), []);
  t.equal(wordProblems(files, { words: { cli: 1, ".": 1 }, duplicateTypes: {} }).length, 1);
  t.equal(wordProblems(files, NONE).length, 2);
  t.end();
});

t.test("the check fails on two exported types of one name", (t) => {
  const files = [file("a.ts", "export type Reply = 1;\nexport type Own = 2;"), file("b.ts", "export class Reply {}\ntype Own = 3;")];
  t.same([...duplicateTypes(files)], [["Reply", ["a.ts", "b.ts"]]]);
  t.equal(wordProblems(files, NONE).length, 1);
  t.same(wordProblems(files, { words: {}, duplicateTypes: { Reply: 2 } }), []);
  const third = [...files, file("c.tsx", "export interface Reply {}")];
  t.equal(wordProblems(third, { words: {}, duplicateTypes: { Reply: 2 } }).length, 1, "an allowance is a number");
  t.end();
});

t.test("lowering an allowance never raises it", (t) => {
  const files = [file("cli/a.ts", "told"), file("lib/a.ts", "told told"), file("test/a.ts", "export type Own = 1;")];
  const allowed = { words: { cli: 5, lib: 1, gone: 3 }, duplicateTypes: { Own: 2 } };
  t.same(lowered(files, allowed), { words: { cli: 1, lib: 1 }, duplicateTypes: {} });
  t.end();
});
