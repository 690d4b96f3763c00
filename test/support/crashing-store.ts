/** A store whose process ends by SIGKILL as soon as the n-th call of one method has been written, or just before it is. */
import type { Store } from '../../records/store.ts'

export function crashingStore(
  store: Store,
  method: string,
  count: number,
  moment: 'before' | 'after' = 'after',
): Store {
  let done = 0
  return new Proxy(store, {
    get(target, name, receiver) {
      const member: unknown = Reflect.get(target, name, receiver)
      if (name !== method || typeof member !== 'function') return member
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
