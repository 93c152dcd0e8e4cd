import type { HeaderLine } from "../../../gateway/decision.ts";

const HOP_BY_HOP =
  /^(connection|http2-settings|keep-alive|proxy-connection|proxy-authenticate|proxy-authorization|proxy-authentication-info|te|upgrade)$/;
const STAYS =
  /^(host|trailer|transfer-encoding|expect|authorization|cookie|set-cookie|x-user-api-key|x-real-ip|forwarded|origin|via|traceparent|tracestate|(content|x-forwarded|sec|access-control)-.*)$/;

/** The lines of a head that travel on, worked out once more and in the plainest way: what the rewriting is compared with. */
export function plainLines(head: string, side: "request" | "response"): HeaderLine[] {
  const all = head
    .split("\r\n")
    .slice(1, -2)
    .map((line): HeaderLine => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).replace(/^[ \t]+|[ \t]+$/g, "")]);
  const visible = side === "request" ? all.filter(([name]) => !name.includes("_")) : all;
  const named = visible
    .filter(([name]) => name.toLowerCase() === "connection")
    .flatMap(([, value]) => value.split(","))
    .map((name) => name.replace(/^[ \t]+|[ \t]+$/g, "").toLowerCase())
    .filter((name) => !STAYS.test(name));
  const status = Number(head.slice(9, 12));
  const claims = all.some(([name, value]) => /^transfer-encoding$/i.test(name) || (/^content-length$/i.test(name) && Number(value) > 0));
  const bodiless = side === "response" && (status < 200 || status === 204) && claims;
  return visible.filter(([name]) => {
    const lower = name.toLowerCase();
    if (bodiless && (lower === "transfer-encoding" || lower === "trailer" || lower === "content-length")) return false;
    return !HOP_BY_HOP.test(lower) && !named.includes(lower);
  });
}
