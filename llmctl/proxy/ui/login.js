// Exchanges a code, or the token, for a cookie that scripts cannot read.

const form = document.getElementById("form");
const field = document.getElementById("secret");
const problem = document.getElementById("problem");

async function logIn(secret) {
  problem.textContent = "";
  try {
    const answer = await fetch("/ui/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ secret }),
    });
    const said = await answer.json();
    if (answer.ok) {
      location.replace(said.location);
      return;
    }
    problem.textContent = said.error.message;
  } catch (failure) {
    problem.textContent = `No answer from llmctl serve: ${failure.message}`;
  }
  field.value = "";
  field.focus();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  logIn(field.value);
});

// The link of `llmctl ui` carries the code behind a #, which browsers send to nobody.
const code = location.hash.slice(1);
if (code) {
  history.replaceState(null, "", location.pathname);
  logIn(code);
} else {
  field.focus();
}
