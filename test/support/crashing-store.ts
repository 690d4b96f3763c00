/** A store whose process ends by SIGKILL as soon as the n-th call of one method has been written. */
import type { Store } from '../../records/store.ts'

export function crashingStore(store: Store, method: string, count: number): Store {
  let done = 0
  return new Proxy(store, {
    get(target, name, receiver) {
      const member: unknown = Reflect.get(target, name, receiver)
      if (name !== method || typeof member !== 'function') return member
      return async (...args: unknown[]) => {
        const result: unknown = await member.apply(target, args)
        done++
        if (done >= count) process.kill(process.pid, 'SIGKILL')
        return result
      }
    },
  })
}
