import { render } from "preact";

function Page() {
  return <h1>AI usage</h1>;
}

render(<Page />, document.getElementById("page") as HTMLElement);
