#include "images.h"
