/** What a request is about, as far as is known when it is answered: for its log line and its span. Owns no ids itself. */
export interface Subject {
  prediction?: string
  /** The flight that carries it. */
  workflow?: string
  validation?: string
}

/** Anything else is no id of ours: the path shows its beginning. */
const plainId = /^[\w.-]{1,64}$/
const subjects = new WeakMap<object, Subject>()

/** `request` is the context that its handler was given. */
export function noteSubject(request: object, subject: Subject): void {
  subjects.set(request, subject)
}

/** What was noted, else what the path names. */
export function subjectOf(request: object, path: string, id: string | undefined): Subject {
  const noted = subjects.get(request)
  if (noted !== undefined) return noted
  if (id === undefined || !plainId.test(id)) return {}
  if (/^\/(task|cancel)\/|^\/v1\/predictions\//.test(path)) return { prediction: id }
  return path.startsWith('/v1/validations/') ? { validation: id } : {}
}

/** The same as attributes of a span. */
export function attributesOf({ prediction, workflow, validation }: Subject): Record<string, string> {
  return {
    ...(prediction !== undefined && { 'perdure.prediction.id': prediction }),
    ...(workflow !== undefined && { 'temporal.workflow.id': workflow }),
    ...(validation !== undefined && { 'perdure.validation.id': validation }),
  }
}
