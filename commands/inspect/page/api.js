// The token is in the part of the URL that isn't sent to the server, and stays in this
// tab: a cookie would go to every port of this host.
const token = /[#&]token=([\w-]+)/.exec(location.hash);
if (token) {
  sessionStorage.token = token[1];
  history.replaceState(null, '', location.pathname);
}

const headers = () => sessionStorage.token ? {Authorization: 'Bearer ' + sessionStorage.token} : {};

// ApiError is an answer with a status other than 2xx.
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// Browsers allow a host six connections, and each visible page holds one. waiting
// counts the requests that have waited for long.
export let waiting = 0;

// request returns the response to a request of the API.
export async function request(path, {signal, method = 'GET', body} = {}) {
  const all = {signal, method, headers: headers()};
  if (method !== 'GET') {
    all.headers['Content-Type'] = 'application/json';
    all.body = JSON.stringify(body ?? {});
  }
  let late = false;
  const timer = setTimeout(() => { late = true; waiting++; }, 3000);
  try {
    const r = await fetch('api/v1/' + path, all);
    if (!r.ok) throw new ApiError(r.status, await problem(r));
    return r;
  } finally {
    clearTimeout(timer);
    if (late) waiting--;
  }
}

// problem returns the text of an error's body: JSON with an error and a hint, or plain text.
async function problem(r) {
  const s = (await r.text()).trim();
  try {
    const {error, hint} = JSON.parse(s);
    return hint ? `${error} (${hint})` : error;
  } catch {
    return s || r.statusText;
  }
}

export const get = async (path, options) => (await request(path, options)).json();
export const getText = async path => (await request(path)).text();
export const post = async (path, body) => {
  const s = await (await request(path, {method: 'POST', body})).text();
  return s ? JSON.parse(s) : {};
};
export const remove = path => request(path, {method: 'DELETE'});

// lines calls f for each line of a response of JSON lines, until it ends.
export async function lines(response, f) {
  let rest = '';
  for await (const s of response.body.pipeThrough(new TextDecoderStream())) {
    const all = (rest + s).split('\n');
    rest = all.pop();
    for (const line of all) if (line) f(JSON.parse(line));
  }
}

// path makes the path of a call's resource.
export const callPath = (c, rest = '') => `calls/${c.id}${rest && '/' + rest}`;
