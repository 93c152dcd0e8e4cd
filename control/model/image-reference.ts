/** An image reference without the registry's host, as `datagrok/chem:1.0`: Docker takes the first part for a host where it has a dot or a colon, or is `localhost`. */
export function withoutHost(ref: string): string {
  const host = ref.slice(0, Math.max(ref.indexOf("/"), 0));
  return host === "localhost" || /[.:]/.test(host) ? ref.slice(host.length + 1) : ref;
}
