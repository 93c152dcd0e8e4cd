/** How a status looks, by how it begins, the more telling beginning first. */
const LOOKS: readonly { begins: string; look: "good" | "moving" | "resting" | "bad" }[] = [
  { begins: "started", look: "good" },
  { begins: "ready", look: "good" },
  { begins: "stopped", look: "resting" },
  { begins: "deleted", look: "resting" },
  { begins: "error", look: "bad" },
  { begins: "", look: "moving" },
];

export function Status({ status }: { status: string }) {
  const { look } = LOOKS.find(({ begins }) => status.startsWith(begins)) ?? { look: "moving" };
  return <span class={`status ${look}`}>{status}</span>;
}
