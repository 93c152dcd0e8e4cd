/** Where a spawner has one service. */
export function servicePath(service: string): string {
  return `/services/${encodeURIComponent(service)}`;
}
