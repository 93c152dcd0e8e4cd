import t from "tap";
import { CLASS, consistsOf, includesIgnoringCase, isFieldValue, startsIgnoringCase, trimTrailing } from "../../lib/character-classes.ts";

const EXPRESSIONS = {
  digit: /\d/,
  lowerHex: /[0-9a-f]/,
  upperHex: /[0-9A-F]/,
  base64url: /[\w-]/,
  token: /[\w.~-]/,
  requestId: /[\w.:+/=@-]/,
  visible: /[!-~]/,
} as const;

t.test("the classes are those of the expressions, for every character of latin1 and beyond", async (t) => {
  for (const [name, expression] of Object.entries(EXPRESSIONS)) {
    for (let code = 0; code < 1_000; code++) {
      const character = String.fromCharCode(code);
      const expected = expression.test(character);
      if (consistsOf(`a${character}`, CLASS[name as keyof typeof CLASS], 1) !== expected) t.fail(`${name}: ${code}`);
    }
  }
});

t.test("a part of a text is classified by itself", async (t) => {
  t.ok(consistsOf("--12--", CLASS.digit, 2, 4));
  t.notOk(consistsOf("--12--", CLASS.digit, 2, 5));
  t.ok(consistsOf("1a", CLASS.digit | CLASS.lowerHex));
  t.ok(consistsOf("", CLASS.digit));
  t.notOk(consistsOf("1", CLASS.digit, 0, 2), "beyond the end there is no character");
});

t.test("a header's value has no control characters but tabs, and is latin1", async (t) => {
  for (let code = 0; code < 1_000; code++) {
    const expected = /^[\t\x20-\x7e\x80-\xff]*$/.test(String.fromCharCode(code));
    if (isFieldValue(`a${String.fromCharCode(code)}`) !== expected) t.fail(String(code));
  }
  t.ok(isFieldValue(""));
});

t.test("parts are found in any case", async (t) => {
  t.ok(includesIgnoringCase("a Kube-Probe/1.2", "kube-probe"));
  t.ok(includesIgnoringCase("kkube", "kube"));
  t.ok(includesIgnoringCase("anything", ""));
  t.notOk(includesIgnoringCase("kub", "kube"));
  t.notOk(includesIgnoringCase("[UBE", "{ube"), "only letters have a case");
  t.ok(startsIgnoringCase("BeArEr x", "bearer "));
  t.ok(startsIgnoringCase("xBearer", "bearer", 1));
  t.notOk(startsIgnoringCase("beare", "bearer"));
});

t.test("the given characters are taken off the end, and only there", async (t) => {
  t.equal(trimTrailing("/api//", "/"), "/api");
  t.equal(trimTrailing("///", "/"), "");
  t.equal(trimTrailing("a. . .", " ."), "a");
  t.equal(trimTrailing("", "/"), "");
});
