import { FAULTS, type FaultCode } from "../lib/fault.ts";
import { EXPLAINED } from "./explained-faults.ts";

const INTRO = `# Every fault

<!-- Written by \`npm run docs\` from fault.ts, conf/explained-faults.ts and drivers/advice.ts; a test notices when it differs. -->

What berth itself answers when something goes wrong, by the status line that a client sees. A container's own answers pass as they are: the body of one of
berth's has \`datagrok-error\`, or below the API \`"#type":"ApiError"\`, with one sentence of what was wrong. A WebSocket on \`proxy-ws\` is closed with that sentence.
By symptom, and what to look at first: [troubleshooting.md](../troubleshooting.md).

The code stands in the access log (\`fault\`) and in \`berth_faults_total\`. What only a command line meets has a status, too, which nobody is sent.

| answer | code | what it means | what to do |
| --- | --- | --- | --- |
`;

/** The page docs/reference/faults.md. */
export function faultsPage(): string {
  const codes = (Object.keys(FAULTS) as FaultCode[]).toSorted((one, other) => FAULTS[one][0] - FAULTS[other][0]);
  return INTRO + codes.map(row).join("");
}

function row(code: FaultCode): string {
  const [status, reason] = FAULTS[code];
  const { means, todo } = EXPLAINED[code];
  return `| ${[`${status} ${reason}`, `\`${code}\``, means, todo].join(" | ")} |\n`;
}
