import { analyse } from "scslre";
import { layers } from "./layers.ts";

/**
 * A rule for oxlint: no regular expression takes more than linear time. scslre finds those that take polynomial or exponential time on some input.
 * Where every input has a small limit, a comment beside the expression gives it and switches the rule off.
 */

type RegExpRuleContext = { report(problem: { node: unknown; message: string }): void };
type RegExpNode = { regex?: { pattern: string; flags: string }; value?: unknown };
type CallNode = { callee: { type: string; name?: string }; arguments: { type: string; value?: unknown }[] };

/** Search positions are moves of the engine: `/\s+$/` starts again at each space, so they count too. */
const TYPES = { Move: true, Self: true, Trade: true };

function problemOf(source: string, flags: string): string | undefined {
  try {
    const { reports } = analyse({ source, flags }, { reportTypes: TYPES, maxReports: 1 });
    const [report] = reports;
    if (!report) return undefined;
    const kind = report.exponential ? "exponential" : "polynomial";
    return `This regular expression can take ${kind} time, for example on many repetitions of ${report.character.literal.source}. Read the text in one pass instead.`;
  } catch (error) {
    return `This regular expression cannot be analysed: ${(error as Error).message}`;
  }
}

const check = (context: RegExpRuleContext, node: unknown, source: string, flags: string) => {
  const message = problemOf(source, flags);
  if (message !== undefined) context.report({ node, message });
};

const constructed = (context: RegExpRuleContext) => (node: CallNode) => {
  const [source, flags] = node.arguments;
  if (node.callee.type !== "Identifier" || node.callee.name !== "RegExp" || typeof source?.value !== "string") return;
  check(context, node, source.value, typeof flags?.value === "string" ? flags.value : "");
};

const linearRegexp = {
  create: (context: RegExpRuleContext) => ({
    Literal: (node: RegExpNode) => {
      if (node.regex) check(context, node, node.regex.pattern, node.regex.flags);
    },
    NewExpression: constructed(context),
    CallExpression: constructed(context),
  }),
};

/** berth's own rules for oxlint. */
const plugin = { meta: { name: "berth" }, rules: { "linear-regexp": linearRegexp, layers } };

export default plugin;
