/** `1 minute`, `90 minutes`. */
export function minutes(count: number | undefined): string {
  return count === 1 ? "1 minute" : `${count ?? 0} minutes`;
}
