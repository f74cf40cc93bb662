/* memkind_arena.h: for programs that include it by memkind's name: everything is in one header. */
#include "../../memkind_arena.h"
