// The page's texts in each language, and the choice of the language.

export const EMOTIONS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"];
const TEXTS = {
  en: {
    local: "What the camera sees stays on the machine that runs semblante.", language: "Language",
    view: "Picture", camera: "Start the camera", stop: "Stop the camera",
    choose: "Choose pictures or a video", large: "Full screen", hint: "Drop pictures or a video here, or paste one.",
    tap: "Tap here to choose pictures or a video.", which: "Which camera",
    faces: "Faces", nobody: "No face yet.", unlooked: "Not analysed.", time: "Over time", save: "Save",
    certainty: "How the model divides its probability among seven expressions. It describes what "
      + "the face shows, not what the person feels, and it is often wrong.",
    json: "Save as JSON", csv: "Save as CSV", saved: "Save the picture",
    face: "Face", none: "No face found.", one: "1 face: ", many: "faces: ",
    unsure: "unsure", denied: "The camera cannot be used: ", lost: "The server does not answer.",
    retry: "The server does not answer; trying again.",
    busy: "The server is busy; trying again.",
    starting: "The camera is starting; the browser may ask you to allow it.",
    muted: "The camera sends no picture at present: another program may use it, or it may be switched off.",
    givenUp: (minutes) => `The server has not answered for ${minutes} minutes, so the camera was stopped. You can `
      + "start it again.",
    gone: "The camera was disconnected.", full: "The server has too many live streams already.",
    elsewhere: "semblante does not answer at this address.",
    invisible: "This browser cannot show this format; what was found in it can be saved.",
    unplayable: "This browser cannot play this format: here is what its first frame shows. What was found can be saved.",
    sending: "Sending", queued: "Waiting for another video to finish", working: "Analysing the video",
    done: "frames: ", shares: "How often each face shows each emotion, in % of its frames:",
    cancel: "Cancel", cancelled: "Cancelled.",
    partly: (seconds) => `Only the first ${seconds} s were analysed.`, unread: "It cannot be read: ",
    refusal: "It was not analysed: ",
    forgets: (n) => `Only the last ${n} results of the camera are kept for saving.`,
    nofile: "The browser cannot read this file.",
    left: (n) => `Videos are analysed one at a time, and not together with pictures; left out: ${n}.`,
    people: "faces", unreadable: "not read", pictures: "Pictures", through: (n) => `${n} pictures are done.`,
    more: (n) => `Show ${n} more`, explain: "What is it based on?", hide: "Hide",
    explaining: "looking for what it is based on", explained: "what it is based on is shown",
    evidence: (emotion) => `Orange speaks for ${emotion}, blue against it.`,
    without: { eyes: "Eyes hidden", nose: "Nose hidden", mouth: "Mouth hidden" },
    // The server's own words are English; these are simpler ones for some.
    reasons: { 404: "semblante does not answer at this address." },
    details: [
      [/no such job/, "the server no longer has it."],
      [/at most (\d+) MB/, "it is too large: at most $1 MB."],
      [/^(?:picture|video): ([^]*)$/, "$1"], // removes what the server writes in place of an unknown file name
    ],
    refused: {
      NotAllowedError: "it was not allowed.", NotFoundError: "there is none.",
      NotReadableError: "another program uses it, or it does not work.",
      Insecure: "the browser allows it only to pages served over HTTPS or from this machine.",
      other: "it could not be started.",
    },
    names: { angry: "angry", disgust: "disgust", fear: "fear", happy: "happy", sad: "sad",
      surprise: "surprise", neutral: "neutral" },
  },
  es: {
    local: "Lo que ve la cámara no sale del equipo en el que corre semblante.", language: "Idioma",
    view: "Imagen", camera: "Encender la cámara", stop: "Apagar la cámara",
    choose: "Elegir imágenes o un video", large: "Pantalla completa",
    hint: "Suelte aquí imágenes o un video, o péguelos.",
    tap: "Toque aquí para elegir imágenes o un video.", which: "Qué cámara",
    faces: "Rostros", nobody: "Todavía no hay rostros.", unlooked: "No se analizó.",
    time: "A lo largo del tiempo", save: "Guardar",
    certainty: "Cómo reparte el modelo su probabilidad entre siete expresiones. Describe lo que "
      + "muestra el rostro, no lo que siente la persona, y a menudo se equivoca.",
    json: "Guardar como JSON", csv: "Guardar como CSV", saved: "Guardar la imagen",
    face: "Rostro", none: "No se encontró ningún rostro.", one: "1 rostro: ",
    many: "rostros: ", unsure: "poco seguro", denied: "No se puede usar la cámara: ",
    lost: "El servidor no responde.",
    retry: "El servidor no responde; se vuelve a intentar.",
    busy: "El servidor tiene demasiado trabajo; se vuelve a intentar.", gone: "Se perdió la conexión con la cámara.",
    starting: "La cámara se está encendiendo; puede que el navegador le pida permiso.",
    muted: "La cámara no envía imagen en este momento: puede que la use otro programa o que esté desactivada.",
    givenUp: (minutes) => `El servidor lleva ${minutes} minutos sin responder, así que se apagó la cámara. Puede volver `
      + "a encenderla.",
    full: "El servidor ya tiene demasiadas transmisiones en vivo.",
    elsewhere: "En esta dirección no responde semblante.",
    invisible: "Este navegador no puede mostrar este formato; lo encontrado se puede guardar.",
    unplayable: "Este navegador no puede reproducir este formato: aquí está lo que muestra su primer fotograma. Lo encontrado se puede guardar.",
    sending: "Enviando", queued: "Esperando a que termine otro video", working: "Analizando el video",
    done: "fotogramas: ", shares: "Con qué frecuencia muestra cada rostro cada emoción, en % de sus fotogramas:",
    cancel: "Cancelar", cancelled: "Cancelado.",
    partly: (seconds) => `Solo se analizaron los primeros ${seconds} s.`,
    unread: "No se puede leer: ", refusal: "No se analizó: ",
    forgets: (n) => `Solo los últimos ${n} resultados de la cámara se conservan para guardarlos.`,
    nofile: "El navegador no puede leer este archivo.",
    left: (n) => `Los videos se analizan de uno en uno, y no junto con imágenes; quedaron fuera: ${n}.`,
    people: "rostros", unreadable: "no se pudo leer", pictures: "Imágenes",
    through: (n) => `Ya están las ${n} imágenes.`, more: (n) => `Mostrar ${n} más`,
    explain: "¿En qué se basa?", hide: "Ocultar",
    explaining: "buscando en qué se basa", explained: "ya se muestra en qué se basa",
    evidence: (emotion) => `Lo naranja apoya la respuesta «${emotion}»; lo azul la contradice.`,
    without: { eyes: "Ojos tapados", nose: "Nariz tapada", mouth: "Boca tapada" },
    // The server gives its reasons in English; these say what each status means.
    reasons: {
      400: "la petición llegó incompleta.", 401: "falta la clave del servidor, o no es correcta.",
      403: "el servidor no acepta peticiones de esta página.", 408: "tardó demasiado en llegar.",
      413: "es demasiado grande.", 422: "no es ni una imagen ni un video que semblante sepa leer.",
      404: "en esta dirección no responde semblante.", 409: "todavía no está listo.", 410: "el servidor ya no lo tiene.",
      429: "el servidor tiene demasiado trabajo; pruebe más tarde.",
      500: "algo falló en el servidor.", 502: "el servidor no responde.",
      503: "el servidor tiene demasiado trabajo; pruebe más tarde.",
      504: "el servidor tardó demasiado.",
    },
    // What a status alone does not tell, if the user can do something about it.
    details: [
      [/no such job/, "el servidor ya no lo tiene."],
      [/pixels are too many|frames of \d+x\d+ pixels/, "tiene demasiados píxeles."],
      [/breaks off/, "se interrumpe antes de su final."], [/empty/, "está vacío."],
      [/damaged or cut off/, "está dañado o incompleto."],
      [/not enough memory/, "no hay memoria suficiente para leerlo."],
      [/more than \d+ frames/, "tiene demasiados fotogramas o rostros."],
      [/at most (\d+) MB/, "es demasiado grande: se aceptan hasta $1 MB."],
      [/took more than/, "analizarlo llevó demasiado tiempo."],
      [/could not be analysed/, "no se pudo analizar."], [/found a video/, "es un video, no una imagen."],
    ],
    refused: {
      NotAllowedError: "no se permitió.", NotFoundError: "no hay ninguna.",
      NotReadableError: "la usa otro programa, o no funciona.",
      Insecure: "el navegador solo da acceso a ella a páginas que llegan por HTTPS o desde este equipo.",
      other: "algo falló al encenderla.",
    },
    names: { angry: "enfado", disgust: "asco", fear: "miedo", happy: "alegría", sad: "tristeza",
      surprise: "sorpresa", neutral: "neutral" },
  },
};

const stored = remembered(); // another program at this address may have stored it
let language = stored in TEXTS ? stored : navigator.language.startsWith("es") ? "es" : "en";

export const spoken = () => language;
export const text = (key) => TEXTS[language][key];
export const name = (emotion) => text("names")[emotion];
// Why the server refused, in the current language; `words`: its own words.
export function reason(status, words) {
  const [known, said] = text("details").find(([one]) => one.test(words)) ?? [];
  return known ? words.match(known)[0].replace(known, said) : text("reasons")[status] ?? words;
}
// A share, 0 to 1, as the language writes it: 99% in English, 99 % with a no-break space in Spanish.
export const percentage = (share) => share.toLocaleString(language, { style: "percent" });
// At most 99 %, since no estimate is certain.
export const percent = (p) => percentage(Math.min(0.99, p));

export function speakIn(chosen) {
  language = chosen;
  try { localStorage.setItem("language", chosen); } catch { /* the choice lasts until the page is closed */ }
}

// The stored language; a browser that does not let the page store anything raises an error.
function remembered() {
  try { return localStorage.getItem("language"); } catch { return null; }
}
