import t from "tap";
import { findTemplates, renderTemplates } from "../../../../control/packages/credentials/templates.ts";

const shown = (value: string) => findTemplates(value).map(({ package: owner, entity }) => [owner, entity]);

t.test("templates are found wherever they stand in a value, and nothing else is", async (t) => {
  t.same(shown("#{x.Entity}"), [[undefined, "Entity"]]);
  t.same(shown("#{x.Package:Entity}"), [["Package", "Entity"]]);
  t.same(shown("a #{x.One} b #{x. Two : Three } c"), [
    [undefined, "One"],
    ["Two", "Three"],
  ]);
  for (const none of ["", "plain", "#{y.Entity}", "{x.Entity}", "#x.Entity", "%{x.Entity}"]) t.same(shown(none), [], none);
});

t.test("what is not well formed names no entity, so that it is refused rather than handed over", async (t) => {
  for (const value of ["#{x.Entity", "#{x.}", "#{x.A:B:C}", "#{x.A:}", "#{x.A #{x.", "#{x."]) {
    const [first] = shown(value);
    t.equal(first?.[1], "", value);
  }
});

t.test("each is replaced by what it stands for, whatever characters that has", async (t) => {
  t.equal(
    renderTemplates("<#{x.A}|#{x.P:B}>", ({ package: owner, entity }) => `$& ${owner ?? "own"} ${entity} $1`),
    "<$& own A $1|$& P B $1>",
  );
});
