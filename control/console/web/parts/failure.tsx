/** Something could not be asked or done; what was shown before stays beside it. */
export function Failure({ error, onRetry }: { error: Error | undefined; onRetry?: () => void }) {
  if (error === undefined) return null;
  return (
    <p class="failure" role="alert">
      {error.message}{" "}
      {onRetry ? (
        <button type="button" onClick={onRetry}>
          Try again
        </button>
      ) : null}
    </p>
  );
}
