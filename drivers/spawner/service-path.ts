/** Where a spawner has one service. */
export function servicePath(service: string): string {
  return `/services/${encodeURIComponent(service)}`;
}

/** What is none belongs to nobody, and is not worth a question. */
export function isServiceName(service: string): boolean {
  return /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(service);
}
