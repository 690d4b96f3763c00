/**
 * A store whose process ends by SIGKILL as soon as the n-th call of one method has been written, or just before it is.
 * `validations.end` is a method of one of its parts.
 */
export function crashingStore<S extends object>(
  store: S,
  method: string,
  count: number,
  moment: 'before' | 'after' = 'after',
): S {
  const [part = '', inner] = method.split('.')
  let done = 0
  let nested: object | undefined
  return new Proxy(store, {
    get(target, name, receiver) {
      const member: unknown = Reflect.get(target, name, receiver)
      if (name !== part) return member
      if (inner !== undefined && typeof member === 'object' && member !== null) {
        nested ??= crashingStore(member, inner, count, moment)
        return nested
      }
      if (typeof member !== 'function') return member
      return async (...args: unknown[]) => {
        done++
        const isLast = done >= count
        if (isLast && moment === 'before') process.kill(process.pid, 'SIGKILL')
        const result: unknown = await member.apply(target, args)
        if (isLast) process.kill(process.pid, 'SIGKILL')
        return result
      }
    },
  })
}
