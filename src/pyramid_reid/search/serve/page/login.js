// Sent by script: a browser that tells no referrer sends a form without its origin.

const form = document.querySelector("form");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = document.querySelector("#wrong");
  said.hidden = true;
  try {
    const answer = await fetch("/login", { method: "POST", body: new URLSearchParams(new FormData(form)) });
    if (answer.ok) {
      location.assign("/");
      return;
    }
    said.textContent = answer.status === 401 ? "This is not the token." : `The server answered ${answer.status}.`;
  } catch {
    said.textContent = "The server does not answer.";
  }
  said.hidden = false;
});
