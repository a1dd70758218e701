// A display on a wall signs in by itself: its token stands behind the # of its address, which no server's log ever sees.
"use strict";

const form = document.getElementById("sign-in");
const token = location.hash.slice(1);
if (form && token.startsWith("kwt_")) {
  history.replaceState(null, "", location.pathname + location.search);
  form.elements.token.value = token;
  form.submit(); // without a look at the fields that people fill in
}

// A form whose session had ended goes on by itself, with all that was typed; nothing is done with it on the way.
const rest = document.getElementById("go-on");
if (rest) rest.submit();
