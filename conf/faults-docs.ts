import { FAULTS, type FaultCode } from "../lib/fault.ts";
import { EXPLAINED } from "./explained-faults.ts";

const INTRO = `# Every fault

<!-- Written by \`npm run docs\` from lib/fault.ts, conf/explained-faults.ts and drivers/advice.ts; a test fails when it differs. -->

This page is for everybody who gets an error from berth. It lists the faults that berth itself answers, by the status line that a client sees. berth forwards a
container's own responses unchanged. The body of a fault has \`datagrok-error\`, or below the API \`"#type":"ApiError"\`, with one sentence. A WebSocket on
\`proxy-ws\` is closed with that sentence. By symptom: [troubleshooting](../troubleshooting.md).

The code is in the access log (\`fault\`) and in \`berth_faults_total\`. Faults of the command line have a status too, which nothing sends.

| response | code | meaning | what to do |
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
