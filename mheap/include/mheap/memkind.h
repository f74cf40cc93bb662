/* memkind.h: for programs that include <memkind.h>: everything is in memkind_arena.h. */
#include "memkind_arena.h"
