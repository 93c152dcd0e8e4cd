import { useState } from "preact/hooks";
import icon from "./icon.svg";
import { send, Refused } from "./ask.ts";
import { ContainerPage } from "./containers/container-page.tsx";
import { ContainerList } from "./containers/container-list.tsx";
import type { User } from "./entities.ts";
import { ImageList } from "./images/image-list.tsx";
import { ImagePage } from "./images/image-page.tsx";
import { LiveFeed } from "./live.tsx";
import { Failure } from "./parts/failure.tsx";
import { linkTo, type Place, usePlace } from "./place.ts";
import { RepositoryList } from "./registry/repository-list.tsx";
import { RepositoryPage } from "./registry/repository-page.tsx";
import { SignIn } from "./sign-in.tsx";
import { useAsked } from "./use-asked.ts";

/** The rooms of the console: what stands in its navigation, and what each shows for the rest of the place. */
const ROOMS: readonly { name: string; title: string; show(rest: Place, user: User): preact.JSX.Element }[] = [
  { name: "containers", title: "Containers", show: ([id]) => (id === undefined ? <ContainerList /> : <ContainerPage key={id} id={id} />) },
  { name: "images", title: "Images", show: ([id]) => (id === undefined ? <ImageList /> : <ImagePage key={id} id={id} />) },
  {
    name: "registry",
    title: "Registry",
    show: ([name], user) => (name === undefined ? <RepositoryList /> : <RepositoryPage key={name} name={name} user={user} />),
  },
];

export function App() {
  const { value: user, error, again } = useAsked<User>("/users/current");
  const [signedOut, setSignedOut] = useState(false);
  const place = usePlace();

  if (signedOut || (error instanceof Refused && error.status === 401)) {
    const entered = () => {
      setSignedOut(false);
      again();
    };
    return <SignIn onSignedIn={entered} />;
  }
  if (error && !user) return <Failure error={error} onRetry={again} />;
  if (!user) return <p class="waiting">Asking who you are…</p>;

  const room = ROOMS.find(({ name }) => name === place[0]) ?? ROOMS[0];
  const signOut = () => void send("/console/sign-out", { method: "POST" }).finally(() => setSignedOut(true));
  return (
    <LiveFeed>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>
        Skip to content
      </a>
      <header>
        <a class="brand" href={linkTo()}>
          <img src={icon} alt="" width="24" height="24" /> berth
        </a>
        <nav aria-label="Rooms">
          {ROOMS.map(({ name, title }) => (
            <a key={name} href={linkTo(name)} aria-current={room?.name === name ? "page" : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <span class="who">{user.login}</span>
        <button type="button" onClick={signOut}>
          Sign out
        </button>
      </header>
      <main id="main" tabIndex={-1}>
        {room?.show(place.slice(1), user)}
      </main>
    </LiveFeed>
  );
}
